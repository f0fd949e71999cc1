"""`povwatch pool`: workers on the other machines of a Ray cluster, for the daemon, which has no network.

On this machine, beside the daemon:
    head.py      the head of a cluster, where there is none
    supervise.py one bridge at a time, and another one when Ray has ended it
    bridge.py    what is wanted, what there is, what is asked for
    scaling.py   how many are asked for, and which end (pure)
    nodes.py     whether a node can work
    worker.py    one worker: its actor there, its line here
    line.py      a connection to the daemon
    transfer.py  files to a node and back, where no folder is shared
    paths.py     this machine's paths, as they are on a node (pure)
    cluster.py   Ray; no other file imports it
    losses.py    what cluster.py makes of Ray's exceptions

On a further machine, and at the head:
    join.py      script/pool-node
    ray_here.py  Ray's own processes
    token.py     who may join
    together.py  script/run: the daemon, and `povwatch pool` beside it

On a node, in the process of an actor:
    host.py      the parent of one worker
    scratch.py   the node's own copies of files
    orphans.py   ends what an actor has left behind

The daemon's side is povwatch/remote/, the messages are in povwatch/process/protocol.py.
"""
