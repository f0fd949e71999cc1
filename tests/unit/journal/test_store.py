"""What the ledger remembers is what the journal has, also where something failed in between."""

from __future__ import annotations

import pytest
import structlog
from support.hand_clock import HandClock
from support.put import advance, put

from povwatch.core.job import JobState, Waiting
from povwatch.journal import Journal, open_reader
from povwatch.journal.store import JobStore


@pytest.fixture
def store(tmp_path):
    with Journal.open(tmp_path) as journal:
        yield JobStore(journal, HandClock())


def as_journalled(store):
    """What a ledger remembers that has only just read the journal."""
    fresh = JobStore(store.journal, store.clock)
    return fresh.known, fresh.looks, fresh.present.by_id, +fresh.counts


def remembered(store):
    return store.known, store.looks, store.present.by_id, +store.counts


def test_looks_of_a_clip(store):
    """The jobs of a clip are known by look, its own first; one that is undone is forgotten."""
    (own,) = store.add([(b"a.mp4", b"")])
    assert store.all_looks(b"a.mp4") == store.open_looks(b"a.mp4") == [own]

    def fail():
        with store.together():
            store.add([(b"a.mp4", b"")], look="snow")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.looks == {}
    looks = [store.add([(b"a.mp4", b"")], look=look)[0] for look in ("rain", "night")]
    assert store.all_looks(b"a.mp4") == [own, looks[1], looks[0]]
    assert store.of_path(b"a.mp4", "rain") == looks[0]
    put(store, own, "failed", state=JobState.FAILED)
    assert store.open_looks(b"a.mp4") == [looks[1], looks[0]]
    assert store.open_looks(b"b.mp4") == []
    assert remembered(store) == as_journalled(store)


def test_undone_changes_are_not_remembered(store):
    """Changes that are taken back are not remembered."""
    (job,) = store.add([(b"a.mp4", b"")])
    job = put(store, job, "waiting", state=JobState.GRACE)

    def fail():
        with store.together():
            queued = put(store, job, "waiting", state=JobState.QUEUED, waiting_on=Waiting.TURN)
            put(store, queued, "failed", state=JobState.FAILED)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.job(job.id) == job
    assert store.ended == {}
    assert remembered(store) == as_journalled(store)


@pytest.mark.parametrize("before", [True, False])
def test_half_added_clip_is_added_again(store, before, monkeypatch):
    """A clip that was not taken in to the end is taken in again."""
    if before:
        (old,) = store.add([(b"a.mp4", b"")])
        put(store, old, "failed", state=JobState.FAILED)
    remember, seen = store._remember, []

    def remember_one(job):
        if seen:
            raise ZeroDivisionError
        seen.append(job)
        remember(job)

    clips = [(b"a.mp4", b""), (b"b.mp4", b"")]
    with monkeypatch.context() as patch:
        patch.setattr(store, "_remember", remember_one)
        with pytest.raises(ZeroDivisionError):
            store.add(clips)
    assert remembered(store) == as_journalled(store)
    assert [job.path for job in store.add(clips)] == [path for path, _ in clips]
    assert remembered(store) == as_journalled(store)


def test_stale_memory_is_read_again(store):
    """What is behind the journal is read again."""
    (job,) = store.add([(b"a.mp4", b"")])
    job = put(store, job, "waiting", state=JobState.GRACE)
    moved = advance(store.journal, job, "waiting", 1.0, state=JobState.QUEUED)
    assert store.job(job.id) == job
    assert store.reread(job.id) == moved
    assert remembered(store) == as_journalled(store)


def test_block_is_told_once_journalled(store, tmp_path):
    """What changes in a block is told when all of it is journalled."""
    (job,) = store.add([(b"a.mp4", b"")])
    with structlog.testing.capture_logs() as said, open_reader(tmp_path) as reader:
        with store.together():
            with store.together():
                job = put(store, job, "held", said={"by": "a.hold"}, state=JobState.GRACE)
            assert said == []
            assert reader.job(job.id).state is JobState.ARRIVING, "the outer block is not journalled yet"
        assert reader.job(job.id).state is JobState.GRACE
    assert [line["event"] for line in said] == ["held"]


def test_inner_block_is_taken_back_alone(store):
    first, second = store.add([(b"a.mp4", b""), (b"b.mp4", b"")])

    def fail():
        with store.together():
            put(store, second, "failed", state=JobState.FAILED)
            raise ZeroDivisionError

    with structlog.testing.capture_logs() as said:
        with store.together():
            put(store, first, "cancelled", said={"why": "it was deleted"}, state=JobState.CANCELLED)
            with pytest.raises(ZeroDivisionError):
                fail()
        assert store.job(first.id).state is JobState.CANCELLED
    assert store.job(second.id) == second
    assert [line["event"] for line in said] == ["cancelled"]
    assert list(store.ended) == [first.id]
    assert remembered(store) == as_journalled(store)
