"""The queue: who may start, who waits for what, and a clock that is set back."""

from __future__ import annotations

import pytest
from support.hand_clock import HandClock
from support.put import put

from povwatch.core.blockers import Blocker
from povwatch.core.job import JobState, Waiting
from povwatch.core.retry import BACKOFF_MAX
from povwatch.journal import Journal
from povwatch.journal.store import JobStore
from povwatch.queue.order import Turns


class SteppedClock(HandClock):
    """Its wall clock can be set."""

    step = 0.0

    def wall(self):
        return super().wall() + self.step


@pytest.fixture
def store(tmp_path):
    with Journal.open(tmp_path) as journal:
        yield JobStore(journal, SteppedClock())


def queued(store, name, **to):
    (job,) = store.add([(name, b"sig")])
    job = put(store, job, "arrived", state=JobState.GRACE)
    return put(store, job, "queued", state=JobState.QUEUED, **to)


def test_clock_set_back_holds_no_job(store):
    """A clock that is set back holds no job for longer than its pause."""
    turns = Turns(store)
    retried = queued(store, b"a.mp4", not_before=store.clock.wall() + 8, waiting_on=Waiting.RETRY_AT)
    turns.mend()
    assert store.job(retried.id).not_before == retried.not_before
    store.clock.step = -86400.0
    turns.mend()
    assert store.job(retried.id).not_before == store.clock.wall() + BACKOFF_MAX
    assert turns.next_deadline() == store.clock.boot() + BACKOFF_MAX
    assert store.journal.job(retried.id).not_before == store.clock.wall() + BACKOFF_MAX
    store.clock.now += BACKOFF_MAX - 1
    turns.mend()
    assert turns.due() == []
    store.clock.now += 1
    turns.mend()
    assert [job.id for job in turns.due()] == [retried.id]


def test_clock_set_back_holds_no_hook(store):
    """Nor one that is published and waits for a hook after it."""
    turns = Turns(store)
    job = queued(store, b"a.mp4")
    for state in (JobState.RUNNING, JobState.CHECKING, JobState.PUBLISHING):
        job = put(store, job, "waiting", state=state)
    put(store, job, "hook-retry", not_before=store.clock.wall() + 8, waiting_on=Waiting.RETRY_AT)
    store.clock.step = -7200.0
    turns.mend()
    assert store.journal.job(job.id).not_before == store.clock.wall() + BACKOFF_MAX
    assert (store.job(job.id).state, turns.due()) == (JobState.PUBLISHING, [])


def test_due_by_priority_then_age(store):
    first, second, third = (
        queued(store, name, priority=priority) for name, priority in ((b"a", 0), (b"b", 0), (b"c", 5))
    )
    queued(store, b"d", not_before=store.clock.wall() + 8)
    assert [job.id for job in Turns(store).due()] == [third.id, first.id, second.id]


def test_own_reason_is_kept(store):
    """A job that waits on something of its own keeps that."""
    due = queued(store, b"a")
    paused = queued(store, b"b", not_before=store.clock.wall() + 8, waiting_on=Waiting.RETRY_AT, detail="It broke.")
    Turns(store).wait(Blocker(Waiting.DISK_FULL, "No room."))
    assert (store.job(due.id).waiting_on, store.job(due.id).detail) == (Waiting.DISK_FULL, "No room.")
    assert (store.job(paused.id).waiting_on, store.job(paused.id).detail) == (Waiting.RETRY_AT, "It broke.")


def test_pause_that_is_over_wakes_nobody(store):
    """The loop would not sleep at all, for as long as another clip is generated or its hook runs."""
    turns = Turns(store)
    queued(store, b"a", not_before=store.clock.wall() - 1, waiting_on=Waiting.TURN)
    assert turns.next_deadline() is None
    queued(store, b"b", not_before=store.clock.wall() + 8, waiting_on=Waiting.RETRY_AT)
    assert turns.next_deadline() == store.clock.boot() + 8


def test_unready_job_is_not_due(store):
    """A job that is not ready is not due, and keeps what it waits on."""
    hooked, other = queued(store, b"a", waiting_on=Waiting.HOOK, detail="The hook mano runs."), queued(store, b"b")
    turns = Turns(store, ready=lambda job: job.id != hooked.id)
    assert [job.id for job in turns.due()] == [other.id]
    turns.wait(Blocker(Waiting.TURN, "It starts when a worker is free."))
    assert (store.job(hooked.id).waiting_on, store.job(other.id).waiting_on) == (Waiting.HOOK, Waiting.TURN)
