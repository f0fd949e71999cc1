"""Worker processes: each loads an engine and does one job at a time for the daemon.

The parent's side:
    pool.py        all workers: which there are, when each may start, why none can take a job
    supervisor.py  keeps one worker going: starts, watches, replaces and ends it
    states.py      what a supervisor knows of its worker, and what that can be late with (pure)
    events.py      what a supervisor tells the daemon
    process.py     the process: started, read, killed, reaped
    launch.py      how an engine's workers are started, and on which GPUs
    gpu_faults.py  what follows from a fault of a GPU

The child's side, which runs on Python 3.10 with the standard library alone:
    worker.py      sets the process up
    serve.py       loads the engine and does the jobs

The messages between the two sides are in povwatch/process/protocol.py. For what an engine is, see
povwatch/engines/port.py.
"""
