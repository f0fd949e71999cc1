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
def test_a_pause_grows_for_the_queue_as_a_whole_and_each_try_has_one_line(bench, error):
    with capture_logs() as lines:
        found = [bench.pause(error("Too many open files.")) for _ in range(7)]
    assert [pause for pause, _ in found] == [2, 4, 8, 16, 32, 60, 60]
    assert [of_the_job for _, of_the_job in found] == [True, *[False] * 6]
    assert [line["event"] for line in lines] == ["queue-paused"] * 7


def test_it_begins_anew_when_an_attempt_gets_through_the_step_that_failed(bench):
    for _ in range(3):
        bench.pause(NoProcess("Too many open files."))
    bench.availability.prepared()
    assert bench.pause(NoProcess("Too many open files.")) == (2, True)


def test_a_copy_that_is_made_says_nothing_of_an_engine_that_fails(bench):
    for _ in range(3):
        bench.pause(NoProcess("Too many open files."), prepared=True)
        bench.availability.prepared()
    assert bench.pause(NoProcess("Too many open files.")) == (16, False)
    bench.availability.prepared()
    assert bench.pause(NoProcess("Too many open files.")) == (32, False)
    bench.availability.generated()
    assert bench.pause(NoProcess("Too many open files.")) == (2, True)


def test_each_job_that_a_gpu_fails_is_told_of(bench):
    assert [bench.pause(GpuLost("It fell off the bus.")) for _ in range(3)] == [(retry.ENVIRONMENT_PAUSE, True)] * 3
