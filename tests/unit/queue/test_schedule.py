"""povwatch pause and working hours, on a clock that a test sets."""

from __future__ import annotations

import pytest
from support.hand_clock import HandClock

from povwatch.core.hours import parse
from povwatch.core.job import Waiting
from povwatch.journal import Journal
from povwatch.queue.schedule import Schedule


class DayClock(HandClock):
    """Its wall clock began at midnight."""

    def wall(self):
        return self.now

    def minute_of_day(self, wall):
        return int(wall // 60) % 1440


@pytest.fixture
def clock():
    return DayClock()


@pytest.fixture
def opened(tmp_path, clock):
    """Opens a povwatch; the one before is closed."""
    journals = []

    def schedule(hours=""):
        if journals:
            journals.pop().close()
        journals.append(Journal.open(tmp_path))
        found = Schedule(parse(hours), journals[0], clock)
        found.tick()
        return found

    yield schedule
    journals[0].close()


def test_pause_says_who_and_outlives(opened):
    """A pause says who asked, and outlives a restart."""
    first = opened()
    assert first.blocker is None
    assert "Paused by alice at" in first.pause("alice")
    assert first.blocker.waiting is Waiting.PAUSED
    assert "Paused by alice" in first.pause("bob"), "it is the first one's"
    again = opened()
    assert "Paused by alice" in again.blocker.problem
    assert again.blocker.asked
    assert again.resume() == (True, "it goes on.")
    assert again.blocker is None
    assert opened().blocker is None


def test_nothing_to_resume(opened):
    """A resume without a pause does nothing and says so."""
    assert opened().resume() == (False, "it is not paused.")


def test_hours_hold_the_queue(opened, clock):
    """Outside of its hours the queue waits, and it is told when it goes on."""
    clock.now = 19 * 3600.0
    found = opened("20:00-08:00")
    assert found.blocker.problem == "Outside of engine.hours (20:00-08:00): it goes on at 72000."
    clock.now = 20 * 3600.0
    found.tick()
    assert found.blocker is None
    clock.now = 32 * 3600.0
    found.tick()
    assert found.blocker.problem.endswith("at 158400.")


def test_clock_that_is_set_is_believed(opened, clock):
    clock.now = 9 * 3600.0
    found = opened("20:00-08:00, 12:00-13:00")
    assert found.blocker.problem.endswith("at 43200.")
    clock.now = 14 * 3600.0
    found.tick()
    assert found.blocker.problem.endswith("at 72000.")
    clock.now = 9 * 3600.0
    found.tick()
    assert found.blocker.problem.endswith("at 43200.")


def test_pause_and_hours_at_once(opened, clock):
    """A resume outside of the hours ends the pause and says that it goes on later."""
    clock.now = 9 * 3600.0
    found = opened("20:00-08:00")
    found.pause("alice")
    assert "alice" in found.blocker.problem
    done, text = found.resume()
    assert done
    assert text.startswith("it goes on, but not yet: Outside of engine.hours")
    assert found.resume()[0] is False
