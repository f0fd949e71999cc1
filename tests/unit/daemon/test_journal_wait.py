"""A journal whose disk is full: waited for in the middle of a step, which then goes on as if nothing had been."""

from __future__ import annotations

import os
import sqlite3

import pytest
from structlog.testing import capture_logs
from support.disks import fill, small_disk
from support.hand_clock import HandClock
from support.put import put

from povwatch.core.job import JobState
from povwatch.daemon.journal_wait import JournalWait
from povwatch.journal import Journal, JournalFailed, StaleJobError
from povwatch.journal.store import JobStore

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts something, which takes root")

LONG = "x" * 200_000
"""More than a WAL has room for in the blocks that it has already."""


class Sleeper:
    """A waker whose sleeps pass the time of a clock that is set by hand."""

    def __init__(self, clock, meanwhile):
        self.clock, self.meanwhile, self.woken = clock, meanwhile, 0

    def sleep(self, seconds):
        self.clock.now += seconds
        self.meanwhile()

    def wake(self):
        self.woken += 1


class Notifier:
    def __init__(self):
        self.said = []

    def ready(self, status):
        self.said.append(("ready", status))

    def watchdog(self):
        self.said.append("alive")


class Bench:
    def __init__(self, state):
        self.state, self.clock = state, HandClock()
        self.journal = Journal.open(state)
        self.store = JobStore(self.journal, self.clock)
        self.notifier, self.waker = Notifier(), Sleeper(self.clock, self.pass_by)
        self.wait = self.journal.patience = JournalWait(
            state, clock=self.clock, waker=self.waker, notifier=self.notifier
        )
        (self.job,) = self.store.add([(b"a.mp4", b"sig")])
        self.began, self.filler, self.frees_after = self.clock.now, None, 100.0

    def fill(self):
        self.filler = fill(self.state)

    def pass_by(self):
        if self.filler is not None and self.clock.now >= self.began + self.frees_after:
            self.filler.unlink()
            self.filler = None

    @property
    def events(self):
        return [event.event for event in self.journal.events(self.job.id)]


@pytest.fixture
def bench(tmp_path):
    with small_disk(tmp_path / "state", 8):
        made = Bench(tmp_path / "state")
        yield made
        made.journal.close()


def told(lines):
    return [line["event"] for line in lines]


def test_change_waits_and_is_made_once(bench):
    """A change waits until there is room, is made once, and is told once it is journalled."""
    bench.fill()
    with capture_logs() as lines:
        job = put(bench.store, bench.job, "arrived", said={"numbers": LONG}, state=JobState.GRACE)
    assert bench.clock.now >= bench.began + bench.frees_after
    assert told(lines) == ["journal-full", "journal-back", "arrived"]  # the change is said when it is journalled
    assert str(bench.state) in lines[0]["problem"]
    assert "goes on by itself" in lines[0]["problem"]
    assert bench.journal.job(job.id).state is JobState.GRACE
    assert bench.events == ["seen", "arrived"]
    # The service manager hears of it all the while, and what came meanwhile is not slept over.
    assert bench.notifier.said.count("alive") >= bench.frees_after - 10
    assert bench.waker.woken > 0


def queue_twice(store, job):
    """A block within another that fails, and is taken back by itself."""
    with store.together():
        put(store, job, "waiting", state=JobState.QUEUED)
        put(store, job, "waiting", state=JobState.QUEUED)


def test_block_is_done_again_as_one(bench):
    """What is journalled as one is done again as one."""
    with bench.store.together():
        job = put(bench.store, bench.job, "waiting", state=JobState.GRACE)
        with pytest.raises(StaleJobError):
            queue_twice(bench.store, job)
        bench.fill()
        put(bench.store, job, "queued", said={"numbers": LONG}, state=JobState.QUEUED)
        (other,) = bench.store.add([(b"b.mp4", b"sig")])
    assert bench.filler is None, "it was full"
    assert bench.events == ["seen", "waiting", "queued"]
    assert bench.journal.job(other.id).path == b"b.mp4"
    with sqlite3.connect(bench.state / "journal.sqlite3") as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_refused_change_is_refused_then_too(bench):
    """A change that a rule refuses is refused after the wait, too."""
    bench.fill()
    with pytest.raises(StaleJobError):
        put(bench.store, bench.job, "arrived", said={"numbers": LONG}, state=JobState.GRACE, run_id=None) and (
            put(bench.store, bench.job, "arrived", said={"numbers": LONG}, state=JobState.GRACE)
        )
    assert bench.events == ["seen", "arrived"]


def test_stop_ends_the_wait(bench):
    """A daemon that is told to stop does not wait, and nothing is said of the change."""
    bench.fill()
    bench.frees_after = float("inf")
    bench.waker.meanwhile = lambda: setattr(bench.wait, "stopped", True)
    with capture_logs() as lines, pytest.raises(JournalFailed, match="full"):
        put(bench.store, bench.job, "arrived", said={"numbers": LONG}, state=JobState.GRACE)
    assert told(lines) == ["journal-full"]
    assert bench.events == ["seen"]


def test_late_room_is_used(bench, monkeypatch):
    """The disk was full when the journal wrote, and takes a file a moment later."""
    bench.fill()
    bench.frees_after = float("inf")
    refusal = bench.wait._refusal

    def look(error):
        if bench.clock.now > bench.began + 60 and bench.filler:
            bench.filler.unlink()
            bench.filler = None
        return refusal(error)

    monkeypatch.setattr(bench.wait, "_refusal", look)
    put(bench.store, bench.job, "arrived", said={"numbers": LONG}, state=JobState.GRACE)
    assert bench.events == ["seen", "arrived"]


def test_refusal_with_room_is_tried_thrice(bench):
    """A write that is refused while the disk takes files is tried three times."""
    error = JournalFailed("The journal cannot be written.", refused=True)
    for times in (1, 2, 3):
        bench.wait.wait(error, times)
    with pytest.raises(JournalFailed):
        bench.wait.wait(error, 4)
    with pytest.raises(JournalFailed):
        bench.wait.wait(JournalFailed("It cannot.", refused=True, unsynced=True), 1)


def test_other_failures_are_not_waited_for(bench):
    bench.journal._db.execute("DROP TABLE job_events")
    with pytest.raises(JournalFailed, match="no such table"):
        put(bench.store, bench.job, "arrived", state=JobState.GRACE)
    assert bench.clock.now == bench.began


def test_nobody_waits_without_a_daemon(bench):
    """Where no daemon waits, a full disk is an error at once."""
    bench.journal.patience = None
    bench.fill()
    with pytest.raises(JournalFailed, match="full"):
        put(bench.store, bench.job, "arrived", said={"numbers": LONG}, state=JobState.GRACE)
