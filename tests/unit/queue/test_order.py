"""The queue: who may start, who waits for what, and a clock that is set back."""

from __future__ import annotations

import pytest
from support.hand_clock import HandClock

from povwatch.core.job import JobState, Waiting
from povwatch.core.retry import BACKOFF_MAX
from povwatch.journal import Journal
from povwatch.journal.store import Ledger
from povwatch.queue.order import Turns
from povwatch.workers.places import Hurdle


class SteppedClock(HandClock):
    """Its wall clock can be set."""

    step = 0.0

    def wall(self):
        return super().wall() + self.step


@pytest.fixture
def ledger(tmp_path):
    with Journal.open(tmp_path) as journal:
        yield Ledger(journal, SteppedClock())


def queued(ledger, name, **to):
    (job,) = ledger.add([(name, b"sig")])
    job = ledger.set_quietly(job, "arrived", state=JobState.GRACE)
    return ledger.set_quietly(job, "queued", state=JobState.QUEUED, **to)


def test_a_clock_that_is_set_back_holds_no_job_for_longer_than_its_pause(ledger):
    turns = Turns(ledger)
    retried = queued(ledger, b"a.mp4", not_before=ledger.clock.wall() + 8, waiting_on=Waiting.RETRY_AT)
    turns.mend()
    assert ledger.job(retried.id).not_before == retried.not_before
    ledger.clock.step = -86400.0
    turns.mend()
    assert ledger.job(retried.id).not_before == ledger.clock.wall() + BACKOFF_MAX
    assert turns.next_deadline() == ledger.clock.boot() + BACKOFF_MAX
    assert ledger.journal.job(retried.id).not_before == ledger.clock.wall() + BACKOFF_MAX
    ledger.clock.now += BACKOFF_MAX - 1
    turns.mend()
    assert turns.due() == []
    ledger.clock.now += 1
    turns.mend()
    assert [job.id for job in turns.due()] == [retried.id]


def test_nor_one_that_is_published_and_waits_for_a_hook_after_it(ledger):
    turns = Turns(ledger)
    job = queued(ledger, b"a.mp4")
    for state in (JobState.RUNNING, JobState.CHECKING, JobState.PUBLISHING):
        job = ledger.set_quietly(job, "waiting", state=state)
    ledger.set_quietly(job, "hook-retry", not_before=ledger.clock.wall() + 8, waiting_on=Waiting.RETRY_AT)
    ledger.clock.step = -7200.0
    turns.mend()
    assert ledger.journal.job(job.id).not_before == ledger.clock.wall() + BACKOFF_MAX
    assert (ledger.job(job.id).state, turns.due()) == (JobState.PUBLISHING, [])


def test_what_is_due_goes_by_priority_then_age(ledger):
    first, second, third = (
        queued(ledger, name, priority=priority) for name, priority in ((b"a", 0), (b"b", 0), (b"c", 5))
    )
    queued(ledger, b"d", not_before=ledger.clock.wall() + 8)
    assert [job.id for job in Turns(ledger).due()] == [third.id, first.id, second.id]


def test_who_waits_on_something_of_its_own_keeps_that(ledger):
    due = queued(ledger, b"a")
    paused = queued(ledger, b"b", not_before=ledger.clock.wall() + 8, waiting_on=Waiting.RETRY_AT, detail="It broke.")
    Turns(ledger).wait(Hurdle(Waiting.DISK_FULL, "No room."))
    assert (ledger.job(due.id).waiting_on, ledger.job(due.id).detail) == (Waiting.DISK_FULL, "No room.")
    assert (ledger.job(paused.id).waiting_on, ledger.job(paused.id).detail) == (Waiting.RETRY_AT, "It broke.")


def test_a_pause_that_is_over_wakes_nobody_while_its_job_waits_for_a_worker(ledger):
    """The loop would not sleep at all, for as long as another clip is generated or its hook runs."""
    turns = Turns(ledger)
    queued(ledger, b"a", not_before=ledger.clock.wall() - 1, waiting_on=Waiting.TURN)
    assert turns.next_deadline() is None
    queued(ledger, b"b", not_before=ledger.clock.wall() + 8, waiting_on=Waiting.RETRY_AT)
    assert turns.next_deadline() == ledger.clock.boot() + 8


def test_who_is_not_ready_is_not_due_and_keeps_what_it_waits_on(ledger):
    hooked, other = queued(ledger, b"a", waiting_on=Waiting.HOOK, detail="The hook mano runs."), queued(ledger, b"b")
    turns = Turns(ledger, ready=lambda job: job.id != hooked.id)
    assert [job.id for job in turns.due()] == [other.id]
    turns.wait(Hurdle(Waiting.TURN, "It starts when a worker is free."))
    assert (ledger.job(hooked.id).waiting_on, ledger.job(other.id).waiting_on) == (Waiting.HOOK, Waiting.TURN)
