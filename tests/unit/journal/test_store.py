"""What the ledger remembers is what the journal has, also where something failed in between."""

from __future__ import annotations

import pytest
import structlog
from support.hand_clock import HandClock

from povwatch.core.job import JobState, Waiting
from povwatch.journal import Journal, open_reader
from povwatch.journal.store import Ledger


@pytest.fixture
def ledger(tmp_path):
    with Journal.open(tmp_path) as journal:
        yield Ledger(journal, HandClock())


def as_journalled(ledger):
    """What a ledger remembers that has only just read the journal."""
    fresh = Ledger(ledger.journal, ledger.clock)
    return fresh.known, fresh._jobs, +fresh.counts


def remembered(ledger):
    return ledger.known, ledger._jobs, +ledger.counts


def test_changes_that_are_taken_back_are_not_remembered(ledger):
    (job,) = ledger.add([(b"a.mp4", b"")])
    job = ledger.move(job, "waiting", state=JobState.GRACE)

    def fail():
        with ledger.together():
            queued = ledger.move(job, "waiting", state=JobState.QUEUED, waiting_on=Waiting.TURN)
            ledger.move(queued, "failed", state=JobState.FAILED)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert ledger.job(job.id) == job
    assert ledger.ended == {}
    assert remembered(ledger) == as_journalled(ledger)


@pytest.mark.parametrize("before", [True, False])
def test_a_clip_that_was_not_taken_in_to_the_end_is_taken_in_again(ledger, before, monkeypatch):
    if before:
        (old,) = ledger.add([(b"a.mp4", b"")])
        ledger.move(old, "failed", state=JobState.FAILED)
    remember, seen = ledger._remember, []

    def remember_one(job):
        if seen:
            raise ZeroDivisionError
        seen.append(job)
        remember(job)

    clips = [(b"a.mp4", b""), (b"b.mp4", b"")]
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_remember", remember_one)
        with pytest.raises(ZeroDivisionError):
            ledger.add(clips)
    assert remembered(ledger) == as_journalled(ledger)
    assert [job.path for job in ledger.add(clips)] == [path for path, _ in clips]
    assert remembered(ledger) == as_journalled(ledger)


def test_what_is_behind_the_journal_is_read_again(ledger):
    (job,) = ledger.add([(b"a.mp4", b"")])
    job = ledger.move(job, "waiting", state=JobState.GRACE)
    moved = ledger.journal.advance(job, "waiting", 1.0, state=JobState.QUEUED)
    assert ledger.job(job.id) == job
    assert ledger.reread(job.id) == moved
    assert remembered(ledger) == as_journalled(ledger)


def test_what_changes_in_a_block_is_said_when_all_of_it_is_journalled(ledger, tmp_path):
    (job,) = ledger.add([(b"a.mp4", b"")])
    with structlog.testing.capture_logs() as said, open_reader(tmp_path) as reader:
        with ledger.together():
            with ledger.together():
                job = ledger.move(job, "held", said={"by": "a.hold"}, state=JobState.GRACE)
            assert said == []
            assert reader.job(job.id).state is JobState.ARRIVING, "the outer block is not journalled yet"
        assert reader.job(job.id).state is JobState.GRACE
    assert [line["event"] for line in said] == ["held"]


def test_a_block_within_another_is_taken_back_alone(ledger):
    first, second = ledger.add([(b"a.mp4", b""), (b"b.mp4", b"")])

    def fail():
        with ledger.together():
            ledger.move(second, "failed", state=JobState.FAILED)
            raise ZeroDivisionError

    with structlog.testing.capture_logs() as said:
        with ledger.together():
            ledger.move(first, "cancelled", said={"why": "it was deleted"}, state=JobState.CANCELLED)
            with pytest.raises(ZeroDivisionError):
                fail()
        assert ledger.job(first.id).state is JobState.CANCELLED
    assert ledger.job(second.id) == second
    assert [line["event"] for line in said] == ["cancelled"]
    assert list(ledger.ended) == [first.id]
    assert remembered(ledger) == as_journalled(ledger)
