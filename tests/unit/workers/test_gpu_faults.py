"""The fault table of a GPU, code by code: who is ended with what, and who is left alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.hand_clock import HandClock

from povwatch.core import retry
from povwatch.core.errors import GpuLost, WorkerDied
from povwatch.core.job import Waiting
from povwatch.core.retry import Kind
from povwatch.gpu.nvml import Gpu, Gpus, Xid
from povwatch.workers.availability import Availability
from povwatch.workers.gpu_faults import GpuFaults
from povwatch.workers.places import Place, Run
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
        self.places = [Place(Supervisor(), (f"GPU-{n}",), run=Run(n, "r", None, 0.0)) for n in range(2)]
        self.notes = []
        self.asked = 0
        self.availability = Availability(HandClock(), "cosmos")
        journal = SimpleNamespace(note=lambda job, event, _, data: self.notes.append((job, event, data["xid"])))
        self.faults = GpuFaults(
            store=SimpleNamespace(journal=journal, job=lambda n: n, clock=HandClock()),
            monitor=SimpleNamespace(watch=lambda _: None, ask=self.ask),
            crew=SimpleNamespace(on_gpus=self.places),
            availability=self.availability,
            wake=lambda: None,
        )

    def ask(self, _):
        self.asked += 1

    def hear(self, code, gpu="GPU-1"):
        self.faults._act(Xid(code, gpu))
        return [place.supervisor.ended for place in self.places]

    def see(self, *numbers, **other):
        self.faults._seen(Gpus(tuple(Gpu(n, f"GPU-{n}", "X", 9, 9) for n in numbers), **other))
        return [place.supervisor.ended for place in self.places]


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize(
    ("codes", "error", "kind"),
    [
        ((13, 31, 43), WorkerDied, Kind.RETRY),
        ((48, 94, 95, 119), GpuLost, Kind.RELEASE),
        ((79,), GpuLost, Kind.RELEASE),
    ],
)
def test_the_worker_on_that_gpu_is_ended_and_no_other(world, codes, error, kind):
    for code in codes:
        other, ended = world.hear(code)
        assert other == []
        assert type(ended[-1]) is error
        assert f"Xid {code}" in str(ended[-1])
        decision = retry.decide(ended[-1], attempts=1, limit=3, now=0)
        assert decision.kind is kind
    assert world.notes == [(1, "gpu-fault", code) for code in codes]


@pytest.mark.parametrize("code", [45, 63, 92, 4711])
def test_what_hurts_nobody_is_noted_with_the_job(world, code):
    assert world.hear(code) == [[], []]
    assert world.notes == [(1, "gpu-note", code)]


def test_a_fault_of_somebody_else_s_gpu_is_nothing_to_us(world):
    assert world.hear(79, "GPU-7") == [[], []]
    assert world.notes == []


def test_a_lost_gpu_that_cannot_say_which_it_is_is_looked_for(world):
    assert world.hear(79, "") == [[], []]
    assert world.asked == 1


def test_a_gpu_that_a_look_does_not_find_is_lost_and_the_other_is_not(world):
    assert world.see(0, 1) == [[], []]
    other, (error,) = world.see(0, problem="a GPU asks for a reset", lost=True)
    assert other == []
    assert type(error) is GpuLost
    assert "asks for a reset" in str(error)
    assert world.availability.gpu is None


def test_a_gpu_that_nvml_counts_no_longer_is_lost_too(world):
    other, (error,) = world.see(0)
    assert other == []
    assert "does not see it any more" in str(error)


def test_a_gpu_that_a_look_fails_at_for_another_reason_is_left_alone(world):
    assert world.see(0, problem="NVML says: Timeout") == [[], []]


def test_a_gpu_of_somebody_else_that_is_lost_is_nothing_to_us(world):
    assert world.see(0, 1, problem="a GPU has fallen off the bus", lost=True) == [[], []]


@pytest.mark.parametrize("other", [{"upgraded": True}, {"silent": True}])
def test_what_runs_goes_on_under_a_driver_that_was_upgraded_or_is_silent(world, other):
    assert world.see(problem="reboot", lost=True, **other) == [[], []]
    blocker = world.availability.blocker(0)
    assert (blocker.waiting, blocker.problem) == (Waiting.GPU_LOST, "Reboot.")
    assert world.availability.blind_looks == 1
    world.see(0, 1)
    assert world.availability.blocker(0) is None
    assert world.availability.blind_looks == 0


def test_all_gpus_lost_at_once(world):
    ended = world.see(problem="a GPU has fallen off the bus: reboot", lost=True)
    assert [[type(error) for error in errors] for errors in ended] == [[GpuLost], [GpuLost]]
    assert world.availability.blocker(0).waiting is Waiting.GPU_LOST


def test_nothing_is_said_of_gpus_before_a_worker_has_one(world):
    world.places.clear()
    world.see(problem="there is no NVIDIA driver here")
    assert world.availability.blocker(0) is None
