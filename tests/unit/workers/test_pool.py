"""The worker pool: when a worker may start, what is said of the engine, and whose fault it is that memory ran out."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from support.hand_clock import HandClock
from support.supervising import FakeProcess

from povwatch.config.settings import Config, Engine
from povwatch.core.blockers import Blocker
from povwatch.core.errors import GpuBusy, OutOfMemory
from povwatch.core.job import Waiting
from povwatch.engines.choice import Choice
from povwatch.gpu import host_memory
from povwatch.gpu.monitor import GpuMonitor
from povwatch.gpu.nvml import Gpu, Gpus, Process
from povwatch.process import protocol
from povwatch.workers import events
from povwatch.workers.launch import Launch
from povwatch.workers.pool import EXCUSED_MAX, WorkerPool
from povwatch.workers.process import Gone
from povwatch.workers.states import SupervisorState

GB = 10**9
GONE = 2**22 + 1
"""No process has this number: it is above the kernel's largest."""


class World:
    """A pool on a machine whose GPUs, host and schedule are the test's."""

    def __init__(self, kind="cosmos", gpus=1, problem="", pool=None, **engine):
        self.clock = HandClock()
        self.woken = threading.Event()
        self.now = free(140, gpus=gpus)
        self.looks = 0
        self.monitor = GpuMonitor(self.clock, self.woken.set, self.look)
        self.schedule = SimpleNamespace(blocker=None)
        self.processes = []
        self.pool = WorkerPool(
            Config(engine=Engine(kind=kind, **engine), pool=pool or {}),
            Choice(kind, kind, "python", "", problem),
            schedule=self.schedule,
            clock=self.clock,
            background=SimpleNamespace(busy=lambda _: False),
            monitor=self.monitor,
            new_process=self.new_process,
        )

    def look(self):
        self.looks += 1
        return self.now

    def new_process(self, _launch):
        self.processes.append(FakeProcess(self.clock))
        return self.processes[-1]

    def start(self):
        self.monitor.first()
        self.looks = 0
        self.pool.start()
        return self

    def turn(self):
        """One turn of the loop, in which a look that was asked for comes back."""
        self.monitor.tick(self.clock.now, every=1e9)
        if self.monitor._query is not None:
            assert self.monitor._query.over.wait(5)
            self.monitor.tick(self.clock.now, every=1e9)
        found = list(self.pool.poll(self.clock.now))
        for worker, event in found:
            self.pool.handle(worker, event)
        return found

    def loaded(self):
        self.start().turn()
        for process in self.processes:
            process.says(protocol.Loaded({"name": "fake"}))
        self.turn()
        return self

    @property
    def states(self):
        return [str(worker.supervisor.state) for worker in self.pool.workers]


def free(much, *processes, gpus=1):
    return Gpus(tuple(Gpu(n, f"GPU-{n}", "NVIDIA X", 140 * GB, much * GB, None, processes) for n in range(gpus)))


def test_way_of_computing_is_logged_once():
    """What an engine says of its kernels and of what it lacks is logged once for workers that say the same."""
    world = World(gpus=2)
    world.now = free(140, gpus=2)
    said = {"attention": "cuDNN", "compiled": True, "notes": ["FlashAttention-3 (fa3-fwd 3) is not used: old CUDA."]}
    with capture_logs() as lines:
        world.start()
        for number in range(2):  # the second begins to load when the first has loaded
            world.turn()
            world.processes[number].says(protocol.Loaded({"name": "fake", **said}))
        world.turn()
    [computes] = [line["sentence"] for line in lines if line["event"] == "engine-computes"]
    assert computes.endswith("computes attention with {attention}; its steps are {compiled}")
    [note] = [line for line in lines if line["event"] == "engine-note"]
    assert (note["note"], note["log_level"]) == (said["notes"][0], "warning")


@pytest.mark.parametrize(
    ("said", "notes"), [({}, []), ({"notes": "text"}, []), ({"notes": ["a\x1b[1m", 2]}, ["a\\x1b[1m", "2"])]
)
def test_notes_are_not_trusted(said, notes):
    """What an engine notes is escaped, and anything but a list is passed over."""
    assert events.noted(said) == notes


def test_no_gpu_no_question():
    """An engine without a GPU is started at once, and NVML is not asked."""
    world = World("toy.py:Engine").start()
    assert (world.states, world.looks) == (["loading"], 0)


def test_room_is_looked_for_anew():
    """Room is looked for anew before each start."""
    world = World().start()
    assert world.processes == []
    world.now = free(140, Process(7, "train", 5 * GB))
    world.turn()
    assert (len(world.processes), world.looks) == (1, 1)
    assert world.pool.workers[0].before == {7}
    world.processes[0].says(protocol.Loaded({}))
    world.processes[0].exits(1)
    world.turn()
    world.clock.now += 2
    world.turn()
    world.turn()
    assert (len(world.processes), world.looks) == (2, 2)


def test_no_room_is_told_with_pauses():
    """No room is told with ever longer pauses, and as news once."""
    world = World()
    world.now = free(20, Process(7, "train", 120 * GB))
    pauses = []
    with capture_logs() as lines:
        world.start()
        (worker,) = world.pool.workers
        for refusals in range(1, 8):
            world.turn()
            assert worker.refusals == worker.failures == refusals
            assert (world.pool.blocker.waiting, world.processes) == (Waiting.GPU_BUSY, [])
            pauses.append(worker.ask_at - world.clock.now)
            looks = world.looks
            world.clock.now = worker.ask_at - 0.1
            world.turn()
            assert world.looks == looks
            world.clock.now = worker.ask_at
            world.turn()
    assert pauses == [2, 4, 8, 16, 32, 60, 60]
    told = [line["problem"] for line in lines if line["event"] == "engine-unavailable"]
    assert len(told) == 1
    assert "No room on NVIDIA X: 20 GB of 140 GB are free" in told[0]
    assert world.pool.given_up(7)
    world.now = free(140)
    with capture_logs() as lines:
        world.clock.now = worker.ask_at
        world.turn()
        world.turn()
    assert "gpu-room" in [line["event"] for line in lines]
    assert (world.states, world.pool.blocker, worker.failures) == (["loading"], None, 0)


def test_load_waits(monkeypatch):
    """A load waits while the memory of the host is short, and while clips are paused."""
    room = [10 * GB]
    monkeypatch.setattr(host_memory, "available", lambda: room[0])
    world = World(gpus=2)
    with capture_logs() as lines:
        world.start().turn()
        assert world.states == ["loading", "backoff"], "the first load never waits"
        second = world.pool.workers[1]
        assert "another worker loads" in second.waits
        room[0] = 1000 * GB
        world.schedule.blocker = Blocker(Waiting.PAUSED, "Paused by alice.", asked=True)
        world.turn()
        assert second.waits == "Paused by alice."
        assert world.pool.facts()[1]["waits"] == "Paused by alice."
        world.schedule.blocker = None
        world.turn()
        world.turn()
    assert (world.states, second.waits) == (["loading", "loading"], "")
    assert [line["label"] for line in lines if line["event"] == "load-waits"] == ["worker 2 on GPU 1"]


def test_later_gpu_gets_a_worker():
    """A GPU that comes later gets a worker."""
    world = World().loaded()
    world.now = free(140, gpus=2)
    with capture_logs() as lines:
        world.pool.sample()
        world.turn()
    assert [worker.gpus for worker in world.pool.workers] == [("GPU-0",), ("GPU-1",)]
    assert [line["label"] for line in lines if line["event"] == "worker-added"] == ["worker 2 on GPU 1"]


def test_other_worker_goes_on():
    """A worker that fails beside another blocks nobody; the last one does, until one is loaded."""
    world = World("toy.py:Engine", workers=2).loaded()
    assert world.pool.blocker is None
    first, second = world.processes
    with capture_logs() as lines:
        first.exits(1)
        world.turn()
        assert world.pool.blocker is None
        second.exits(1)
        world.turn()
        assert world.pool.blocker.waiting is Waiting.ENGINE_UNAVAILABLE
        world.clock.now += 2
        world.turn()
        world.processes[-1].says(protocol.Loaded({}))
        world.turn()
    assert world.pool.blocker is None
    assert [line["where"] for line in lines if line["event"] == "worker-lost"] == [" (worker 1)", " (worker 2)"]


@pytest.mark.parametrize(("kind", "logged"), [("error", True), ("disk-full", False)])
def test_last_output_is_logged(kind, logged):
    """The last output of a worker that failed is logged, unless its error is complete."""
    world = World("toy.py:Engine").loaded()
    (worker,) = world.pool.workers
    with capture_logs() as lines:
        for number in range(40):
            worker.log_output(f"line {number}")
        worker.log_last_lines(kind)
        worker.log_output("late")
    shown = [line["line"] for line in lines if line["event"] == "engine-last-words"]
    assert shown == ([f"line {number}" for number in range(10, 40)] if logged else [])


def test_unable_machine_is_given_up():
    """An engine that this machine cannot run blocks the queue, and --once gives it up."""
    world = World(problem="there is no NVIDIA driver here").start()
    assert (world.pool.blocker.waiting, world.pool.workers) == (Waiting.ENGINE_UNAVAILABLE, [])
    assert world.pool.given_up(3)
    assert world.pool.next_deadline() is None


@pytest.mark.parametrize(("workers", "gpus", "said"), [(0, 2, []), ("auto", 0, ["engine-elsewhere"])])
def test_no_worker_here_with_a_pool(workers, gpus, said):
    """With a pool it is no fault that this machine has no worker; a GPU that comes is used unless none is wanted."""
    world = World("cosmos", workers=workers, pool={"kind": "ray"}, problem="" if workers == 0 else "no GPU is there")
    world.now = free(140, gpus=gpus)
    with capture_logs() as lines:
        world.start()
    assert [line["event"] for line in lines] == said
    assert (world.pool.blocker, world.pool.workers) == (None, [])
    assert not world.pool.given_up(1)


def remote(world, process, **about):
    launch = Launch("", "x:Y", {}, {})
    return world.pool.adopt(process, launch, world.pool.places.of("n1", "gpu-01"), **about)


def test_workers_of_both_kinds():
    """This machine's workers come first, numbers are used again, and a lost one elsewhere is not started anew."""
    world = World("toy.py:Engine", workers=2).loaded()
    away = FakeProcess(world.clock)
    assert remote(world, away).label == "worker 3 on node gpu-01"
    assert away.sent == [protocol.Load({})]
    remote(world, other := FakeProcess(world.clock), capabilities={"name": "fake"}, gpu_names=("NVIDIA X",))
    assert [worker.number for worker in world.pool.free] == [1, 2, 4]
    assert [one["node"] for one in world.pool.facts()] == [None, None, "gpu-01", "gpu-01"]
    assert world.pool.gpu_name(world.pool.workers[3]) == "NVIDIA X"
    world.pool.gpus_away = True
    assert [worker.number for worker in world.pool.free] == [1, 2, 4], "they need no GPU"
    with capture_logs() as lines:
        away.items.append(Gone("Worker 3 on node gpu-01 is gone.", died=True))
        other.items.append(Gone("It was not needed any more.", died=False))
        world.turn()
    assert [line["event"] for line in lines if line["event"].startswith("remote")] == [
        "remote-unavailable",
        "remote-left",
    ]
    assert [worker.number for worker in world.pool.workers] == [1, 2]
    assert world.pool.places.of("n1", "gpu-01").deaths == 1
    assert world.pool.blocker is None
    assert remote(world, FakeProcess(world.clock)).number == 3


def test_failed_load_elsewhere_is_told():
    """Where no machine has the engine, the clips wait on what went wrong with it elsewhere."""
    world = World("toy.py:Engine", workers=0, pool={"kind": "ray"}).start()
    remote(world, process := FakeProcess(world.clock))
    process.says(protocol.LoadFailed("error", "There is no model.", "Get it."))
    world.turn()
    assert world.pool.blocker == Blocker(
        Waiting.ENGINE_UNAVAILABLE, "worker 1 on node gpu-01: There is no model. Get it."
    )
    process.items.append(Gone("Worker 1 on node gpu-01 exited with status 3.", died=True))
    world.turn()
    assert world.pool.workers == []
    assert world.pool.places.of("n1", "gpu-01").deaths == 1, "the load and the end behind it are one death"


def test_stop_ends_every_worker():
    world = World("toy.py:Engine", workers=2).loaded()
    world.pool.stop("povwatch stops")
    assert not world.pool.stopped
    for process in world.processes:
        process.exits(0)
    world.turn()
    assert world.pool.stopped
    assert {worker.supervisor.state for worker in world.pool.workers} == {SupervisorState.STOPPED}


FAILED = events.JobFailed(1, "r", "out-of-memory", OutOfMemory("There is too little memory."))


def out_of_memory(world, *processes):
    """The error that counts after a job ran out of memory beside these processes."""
    world.pool.judge_out_of_memory(world.pool.workers[0], FAILED)
    return judged(world, *processes)


def judged(world, *processes):
    """The error that counts once the GPUs were read, with these processes on them."""
    world.now = free(0, *processes)
    found = [event for _, event in world.turn() if isinstance(event, events.OutOfMemoryJudged)]
    ((job, run_id, error),) = [(event.job_id, event.run_id, event.error) for event in found]
    assert (job, run_id) == (FAILED.job_id, FAILED.run_id)
    return error


def test_memory_of_another_process():
    """Memory that another process uses excuses a job a few times."""
    world = World().loaded()
    other = Process(1, "train", 80 * GB)
    found = [out_of_memory(world, other) for _ in range(EXCUSED_MAX + 1)]
    assert [type(error) for error in found] == [*[GpuBusy] * EXCUSED_MAX, OutOfMemory]
    assert "Meanwhile the GPU is used by train (pid 1, 80 GB) too." in found[0].what


def test_gone_worker_is_no_other_process():
    """A worker that is gone by the time of the look is no other process."""
    world = World().loaded()
    world.processes[0].pid = GONE
    world.pool.judge_out_of_memory(world.pool.workers[0], FAILED)
    world.processes[0].pid = GONE + 1  # another one takes its place
    assert judged(world, Process(GONE, "python", 30 * GB)) is FAILED.error
