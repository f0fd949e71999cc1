"""How long a job was in each state."""

import pytest

from povwatch.core.job import JobState as S
from povwatch.journal.reader import Event
from povwatch.ops.report.data import Run
from povwatch.ops.report.gather import timing

NOW = 1000.0


def history(*steps):
    """(at, event, state) as events."""
    states = [None, *(state for _, _, state in steps)]
    return [Event(at, event, was, state, None, {}) for (at, event, state), was in zip(steps, states, strict=False)]


PLAIN = [
    (0, "seen", "arriving"),
    (5, "arrived", "grace"),
    (20, "queued", "queued"),
    (30, "started", "running"),
    (90, "generated", "checking"),
    (95, "checked", "publishing"),
    (96, "done", "done"),
]


def test_plain_run():
    """A plain run has its seconds in each state, one run, and its end."""
    found = timing(history(*PLAIN), NOW)
    assert found.seconds == {
        S.ARRIVING: 5,
        S.GRACE: 15,
        S.QUEUED: 10,
        S.RUNNING: 60,
        S.CHECKING: 5,
        S.PUBLISHING: 1,
    }
    assert found.runs == [Run(30, 95, lost=False)]
    assert (found.queued_at, found.ended_at, found.lost) == (20, 96, None)


@pytest.mark.parametrize("event", ["retry", "released", "orphaned"])
def test_lost_attempts_are_told_apart(event):
    again = [(120, "started", "running"), (180, "generated", "checking"), (185, "checked", "publishing")]
    found = timing(history(*PLAIN[:5], (100, event, "queued"), *again, (186, "done", "done")), NOW)
    assert found.runs == [Run(30, 100, lost=True), Run(120, 185, lost=False)]
    assert found.lost == 70
    assert found.seconds[S.QUEUED] == 30


def test_notes_in_between_change_nothing():
    noted = [*PLAIN[:4], (40, "gpu-use", "running"), *PLAIN[4:]]
    assert timing(history(*noted), NOW) == timing(history(*PLAIN), NOW)


def test_under_way_lasts_until_now():
    found = timing(history(*PLAIN[:4]), NOW)
    assert found.runs == [Run(30, NOW, lost=False)]
    assert found.seconds[S.RUNNING] == 970
    assert found.ended_at is None
    assert timing(history(*PLAIN[:2]), NOW).seconds == {S.ARRIVING: 5, S.GRACE: 995}


def test_job_that_failed_in_its_run():
    """A job that failed while it ran has a lost run that ends there."""
    found = timing(history(*PLAIN[:4], (50, "failed", "failed"), (60, "gpu-use", "failed")), NOW)
    assert (found.runs, found.ended_at) == ([Run(30, 50, lost=True)], 50)


def test_job_without_a_history():
    """A job without a history has no times."""
    found = timing([], NOW)
    assert (found.seconds, found.runs, found.ended_at, found.lost) == ({}, [], None, None)


def test_clock_set_back_is_not_negative():
    """A clock that was set back makes no time negative."""
    found = timing(history((100, "seen", "arriving"), (50, "arrived", "grace"), (60, "queued", "queued")), 10)
    assert all(seconds >= 0 for seconds in found.seconds.values())
