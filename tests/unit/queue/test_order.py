"""The queue: who may start, who waits for what, and a clock that is set back."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.hand_clock import HandClock
from support.put import put

from povwatch.core.blockers import Blocker
from povwatch.core.job import JobState, Waiting
from povwatch.core.retry import BACKOFF_MAX
from povwatch.journal import Journal
from povwatch.journal.store import JobStore
from povwatch.queue.order import NOTED_AT_ONCE, JobQueue


class SteppedClock(HandClock):
    """Its wall clock can be set."""

    step = 0.0

    def wall(self):
        return super().wall() + self.step


@pytest.fixture
def store(tmp_path):
    with Journal.open(tmp_path) as journal:
        yield JobStore(journal, SteppedClock())


def queue_of(store, blocker=None, ready=lambda _: True):
    return JobQueue(
        store,
        hooks=SimpleNamespace(ready=ready),
        blockers=SimpleNamespace(generating=lambda: blocker),
    )


def queued(store, name, **to):
    (job,) = store.add([(name, b"sig")])
    job = put(store, job, "arrived", state=JobState.GRACE)
    return put(store, job, "queued", state=JobState.QUEUED, **to)


def test_clock_set_back_holds_no_job(store):
    """A clock that is set back holds no job for longer than its pause."""
    queue = queue_of(store)
    retried = queued(store, b"a.mp4", not_before=store.clock.wall() + 8, waiting_on=Waiting.RETRY_AT)
    queue.shorten_pauses()
    assert store.job(retried.id).not_before == retried.not_before
    store.clock.step = -86400.0
    queue.shorten_pauses()
    assert store.job(retried.id).not_before == store.clock.wall() + BACKOFF_MAX
    assert queue.next_deadline() == store.clock.boot() + BACKOFF_MAX
    assert store.journal.job(retried.id).not_before == store.clock.wall() + BACKOFF_MAX
    store.clock.now += BACKOFF_MAX - 1
    queue.shorten_pauses()
    assert list(queue.due()) == []
    store.clock.now += 1
    queue.shorten_pauses()
    assert [job.id for job in queue.due()] == [retried.id]


def test_clock_set_back_holds_no_hook(store):
    """Nor one that is published and waits for a hook after it."""
    queue = queue_of(store)
    job = queued(store, b"a.mp4")
    for state in (JobState.RUNNING, JobState.CHECKING, JobState.PUBLISHING):
        job = put(store, job, "waiting", state=state)
    put(store, job, "hook-retry", not_before=store.clock.wall() + 8, waiting_on=Waiting.RETRY_AT)
    store.clock.step = -7200.0
    queue.shorten_pauses()
    assert store.journal.job(job.id).not_before == store.clock.wall() + BACKOFF_MAX
    assert (store.job(job.id).state, list(queue.due())) == (JobState.PUBLISHING, [])


def test_due_by_priority_then_age(store):
    first, second, third = (
        queued(store, name, priority=priority) for name, priority in ((b"a", 0), (b"b", 0), (b"c", 5))
    )
    queued(store, b"d", not_before=store.clock.wall() + 8)
    assert [job.id for job in queue_of(store).due()] == [third.id, first.id, second.id]


def test_own_reason_is_kept(store):
    """A job that waits on something of its own keeps that."""
    due = queued(store, b"a")
    paused = queued(store, b"b", not_before=store.clock.wall() + 8, waiting_on=Waiting.RETRY_AT, detail="It broke.")
    queue_of(store, Blocker(Waiting.DISK_FULL, "No room.")).note_blocker()
    assert (store.job(due.id).waiting_on, store.job(due.id).detail) == (Waiting.DISK_FULL, "No room.")
    assert (store.job(paused.id).waiting_on, store.job(paused.id).detail) == (Waiting.RETRY_AT, "It broke.")


def test_pause_that_is_over_wakes_nobody(store):
    """The loop would not sleep at all, for as long as another clip is generated or its hook runs."""
    queue = queue_of(store)
    queued(store, b"a", not_before=store.clock.wall() - 1, waiting_on=Waiting.TURN)
    assert queue.next_deadline() is None
    queued(store, b"b", not_before=store.clock.wall() + 8, waiting_on=Waiting.RETRY_AT)
    assert queue.next_deadline() == store.clock.boot() + 8


def test_unready_job_is_not_due(store):
    """A job that is not ready is not due, and keeps what it waits on."""
    hooked, other = queued(store, b"a", waiting_on=Waiting.HOOK, detail="The hook mano runs."), queued(store, b"b")
    queue = queue_of(store, ready=lambda job: job.id != hooked.id)
    assert [job.id for job in queue.due()] == [other.id]
    queue.note_blocker()
    assert (store.job(hooked.id).waiting_on, store.job(other.id).waiting_on) == (Waiting.HOOK, Waiting.TURN)


def test_long_queue_is_noted_in_turns(store):
    """A turn writes what everything waits on for the first jobs alone; what is noted is not looked at again."""
    many = NOTED_AT_ONCE + 20
    with store.together():
        for number in range(many):
            queued(store, b"%d.mp4" % number)
    asked = []
    queue = queue_of(store, Blocker(Waiting.DISK_FULL, "No room."), ready=lambda job: asked.append(job.id) or True)

    def noted():
        return [job.id for job in store.in_state(JobState.QUEUED) if job.waiting_on is Waiting.DISK_FULL]

    queue.note_blocker()
    assert noted() == list(range(1, NOTED_AT_ONCE + 1))
    queue.note_blocker()
    assert len(noted()) == many
    asked.clear()
    queue.note_blocker()
    assert asked == []
    queued(store, b"one more.mp4")
    queue.note_blocker()
    assert len(noted()) == many + 1
