"""When the next job may start after the machine failed one: a clock that is set by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from support.hand_clock import HandClock

from povwatch.core import retry
from povwatch.core.errors import GpuLost, OutputsAway, Shortage
from povwatch.core.job import Waiting
from povwatch.media.errors import NoProcess
from povwatch.queue.pauses import QueuePauses


class Bench:
    def __init__(self):
        self.clock = HandClock()
        self.pool = SimpleNamespace(loaded=False)
        self.refused = False
        self.pauses = QueuePauses(self.clock, self.pool, SimpleNamespace(refuses=lambda _: self.refused))

    def pause(self, error, *, prepared=False):
        """Seconds that no job is started for, and whether the log is to be told of the job as well."""
        decision = retry.decide(error, attempts=1, limit=3, now=self.clock.wall())
        knows = self.pauses.pause(Waiting.PAUSED, error, decision.at, prepared=prepared)
        pause = self.pauses.next_deadline() - self.clock.now
        self.clock.now += pause
        return pause, not knows


@pytest.fixture
def bench():
    return Bench()


@pytest.mark.parametrize("error", [Shortage, NoProcess])
def test_pause_grows_for_the_whole_queue(bench, error):
    """A pause grows for the queue as a whole, and each try has one line."""
    with capture_logs() as lines:
        found = [bench.pause(error("Too many open files.")) for _ in range(7)]
    assert [pause for pause, _ in found] == [2, 4, 8, 16, 32, 60, 60]
    assert [of_the_job for _, of_the_job in found] == [True, *[False] * 6]
    assert [line["event"] for line in lines] == ["queue-paused"] * 7


def test_pause_begins_anew_after_its_step(bench):
    """A pause begins anew when an attempt gets through the step that failed."""
    for _ in range(3):
        bench.pause(NoProcess("Too many open files."))
    bench.pauses.prepared()
    assert bench.pause(NoProcess("Too many open files.")) == (2, True)


def test_copy_says_nothing_of_an_engine(bench):
    """A copy that is made says nothing of an engine that fails."""
    for _ in range(3):
        bench.pause(NoProcess("Too many open files."), prepared=True)
        bench.pauses.prepared()
    assert bench.pause(NoProcess("Too many open files.")) == (16, False)
    bench.pauses.prepared()
    assert bench.pause(NoProcess("Too many open files.")) == (32, False)
    bench.pauses.generated()
    assert bench.pause(NoProcess("Too many open files.")) == (2, True)


def test_each_lost_gpu_is_told(bench):
    """Each job that a GPU fails is told."""
    assert [bench.pause(GpuLost("It fell off the bus.")) for _ in range(3)] == [(retry.ENVIRONMENT_PAUSE, True)] * 3


def test_lone_failing_worker(bench):
    """A worker that fails alone holds nobody up."""
    bench.pool.loaded = True
    assert not bench.pauses.pause(Waiting.GPU_LOST, GpuLost("It fell off the bus."), 0.0, prepared=True)
    assert bench.pauses.blocker is None


def test_watched_outputs_need_no_pause(bench):
    """Outputs that are watched already need no pause."""
    bench.refused = True
    assert not bench.pauses.pause(Waiting.PAUSED, OutputsAway("It is not there."), 0.0, prepared=True)
    assert bench.pauses.blocker is None


def test_pause_blocks_until_it_ends(bench):
    """A pause blocks until it ends, and enough of them end a run."""
    bench.pauses.pause(Waiting.PAUSED, Shortage("Too many open files."), 0.0, prepared=False)
    assert bench.pauses.blocker.problem == "Too many open files."
    assert (bench.pauses.given_up(1), bench.pauses.given_up(2)) == (True, False)
    bench.clock.now = bench.pauses.next_deadline()
    assert bench.pauses.blocker is None
    assert bench.pauses.next_deadline() is None
