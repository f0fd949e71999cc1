"""When the next job may start after the machine failed one: a clock that is set by hand."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs
from support.hand_clock import HandClock

from povwatch.core import retry
from povwatch.core.errors import GpuLost, Shortage
from povwatch.core.job import Waiting
from povwatch.media.errors import NoProcess
from povwatch.workers.availability import Availability


class Bench:
    def __init__(self):
        self.clock = HandClock()
        self.availability = Availability(self.clock, "preview")

    def pause(self, error, *, prepared=False):
        """Seconds that no job is started for, and whether the log is to be told of the job as well."""
        decision = retry.decide(error, attempts=1, limit=3, now=self.clock.wall())
        knows = self.availability.pause(Waiting.PAUSED, error, decision.at, prepared=prepared)
        pause = self.availability.next_deadline() - self.clock.now
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
    bench.availability.prepared()
    assert bench.pause(NoProcess("Too many open files.")) == (2, True)


def test_copy_says_nothing_of_an_engine(bench):
    """A copy that is made says nothing of an engine that fails."""
    for _ in range(3):
        bench.pause(NoProcess("Too many open files."), prepared=True)
        bench.availability.prepared()
    assert bench.pause(NoProcess("Too many open files.")) == (16, False)
    bench.availability.prepared()
    assert bench.pause(NoProcess("Too many open files.")) == (32, False)
    bench.availability.generated()
    assert bench.pause(NoProcess("Too many open files.")) == (2, True)


def test_each_lost_gpu_is_told(bench):
    """Each job that a GPU fails is told."""
    assert [bench.pause(GpuLost("It fell off the bus.")) for _ in range(3)] == [(retry.ENVIRONMENT_PAUSE, True)] * 3
