"""The fault table of a GPU, code by code: who is ended with what, and who is left alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.hand_clock import HandClock

from povwatch.core import retry
from povwatch.core.errors import GpuLost, WorkerDied
from povwatch.core.job import Waiting
from povwatch.core.retry import Action
from povwatch.gpu.nvml import Gpu, Gpus, Xid
from povwatch.workers.gpu_faults import GpuFaults
from povwatch.workers.pool import ActiveAttempt, Worker
from povwatch.workers.supervisor import SupervisorState


class Supervisor:
    """Notes what its worker is ended with."""

    state = SupervisorState.BUSY

    def __init__(self):
        self.ended = []

    def replace(self, error):
        self.ended.append(error)


class World:
    """Two workers, each with a GPU and a job."""

    def __init__(self):
        self.workers = [
            Worker(Supervisor(), gpus=(f"GPU-{n}",), active=ActiveAttempt(n, "r", None, 0.0)) for n in range(2)
        ]
        self.notes = []
        self.asked = 0
        journal = SimpleNamespace(note=lambda job, event, _, data: self.notes.append((job, event, data["xid"])))
        self.faults = GpuFaults(
            store=SimpleNamespace(journal=journal, job=lambda n: n, clock=HandClock()),
            monitor=SimpleNamespace(watch=lambda _: None, query_soon=self.query_soon),
            pool=SimpleNamespace(on_gpus=self.workers, remote=[]),
            wake=lambda: None,
        )

    def query_soon(self):
        self.asked += 1

    def hear(self, code, gpu="GPU-1"):
        self.faults._handle(Xid(code, gpu))
        return [worker.supervisor.ended for worker in self.workers]

    def see(self, *numbers, **other):
        self.faults._gpus_read(Gpus(tuple(Gpu(n, f"GPU-{n}", "X", 9, 9) for n in numbers), **other))
        return [worker.supervisor.ended for worker in self.workers]


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize(
    ("codes", "error", "action"),
    [
        ((13, 31, 43), WorkerDied, Action.RETRY),
        ((48, 94, 95, 119), GpuLost, Action.RELEASE),
        ((79,), GpuLost, Action.RELEASE),
    ],
)
def test_worker_on_that_gpu_is_ended(world, codes, error, action):
    """The worker on the GPU is ended with the error of the fault table, and no other is."""
    for code in codes:
        other, ended = world.hear(code)
        assert other == []
        assert type(ended[-1]) is error
        assert f"Xid {code}" in str(ended[-1])
        decision = retry.decide(ended[-1], attempts=1, limit=3, now=0)
        assert decision.action is action
    assert world.notes == [(1, "gpu-fault", code) for code in codes]


@pytest.mark.parametrize("code", [45, 63, 92, 4711])
def test_harmless_fault_is_noted(world, code):
    """What hurts nobody is noted with the job."""
    assert world.hear(code) == [[], []]
    assert world.notes == [(1, "gpu-note", code)]


def test_fault_of_another_gpu(world):
    """A fault of a GPU that no worker has is ignored."""
    assert world.hear(79, "GPU-7") == [[], []]
    assert world.notes == []


def test_unnamed_lost_gpu_is_looked_for(world):
    """A lost GPU that is not named is looked for."""
    assert world.hear(79, "") == [[], []]
    assert world.asked == 1


def test_gpu_missing_from_a_look_is_lost(world):
    """A GPU that a look does not find is lost, and the other is not."""
    assert world.see(0, 1) == [[], []]
    other, (error,) = world.see(0, problem="a GPU asks for a reset", lost=True)
    assert other == []
    assert type(error) is GpuLost
    assert "asks for a reset" in str(error)
    assert world.faults.blocker is None


def test_uncounted_gpu_is_lost(world):
    """A GPU that NVML counts no longer is lost, too."""
    other, (error,) = world.see(0)
    assert other == []
    assert "does not see it any more" in str(error)


def test_other_problem_leaves_it_alone(world):
    """A GPU that a look fails at for another reason is left alone."""
    assert world.see(0, problem="NVML says: Timeout") == [[], []]


def test_lost_gpu_of_nobody(world):
    """A lost GPU that no worker has is ignored."""
    assert world.see(0, 1, problem="a GPU has fallen off the bus", lost=True) == [[], []]


@pytest.mark.parametrize("other", [{"upgraded": True}, {"silent": True}])
def test_upgraded_or_silent_driver(world, other):
    """What runs goes on under a driver that was upgraded or is silent, and nothing starts."""
    assert world.see(problem="reboot", lost=True, **other) == [[], []]
    blocker = world.faults.blocker
    assert (blocker.waiting, blocker.problem) == (Waiting.GPU_LOST, "Reboot.")
    assert world.faults.given_up(1)
    world.see(0, 1)
    assert world.faults.blocker is None
    assert not world.faults.given_up(1)


def test_other_machines_go_on(world):
    """A driver that does not answer keeps jobs from this machine's workers, and from those on other machines not."""
    pool = world.faults._pool
    world.see(silent=True, problem="the driver does not answer")
    assert world.faults.blocker.waiting is Waiting.GPU_LOST
    assert pool.gpus_away
    pool.remote = [object()]
    assert world.faults.blocker is None
    assert not world.faults.given_up(1)
    pool.remote = []
    world.see(0, 1)
    assert (world.faults.blocker, pool.gpus_away) == (None, False)


def test_all_gpus_lost_at_once(world):
    """All workers end if all GPUs are lost, and nothing starts."""
    ended = world.see(problem="a GPU has fallen off the bus: reboot", lost=True)
    assert [[type(error) for error in errors] for errors in ended] == [[GpuLost], [GpuLost]]
    assert world.faults.blocker.waiting is Waiting.GPU_LOST


def test_nothing_before_a_worker_has_a_gpu(world):
    world.workers.clear()
    world.see(problem="there is no NVIDIA driver here")
    assert world.faults.blocker is None
