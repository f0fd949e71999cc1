"""What the daemon leaves in the spool: production's parts, on a clock that the test sets."""

from __future__ import annotations

import pytest

from povwatch.core.blockers import Blocker
from povwatch.core.changes import Cancelled, Failed
from povwatch.core.job import JobState, Waiting
from povwatch.notifications import spool
from povwatch.notifications.watch import CLEAR_AFTER, STALLED_AFTER
from povwatch.workers.events import STALLED

URL = "json://localhost/x"


@pytest.fixture
def here(build, monkeypatch):
    monkeypatch.setenv("POVWATCH_NOTIFIER", "unit")  # no child that sends
    made = build(notify=({"url": URL},))
    made.app.notifications.start()
    return made


def turn(here, seconds=2.0):
    here.clock.now += seconds
    here.app.notifications.tick(here.clock.now)
    return left(here)


def left(here):
    """The notices in the spool, which is emptied."""
    found = here.app.notifications._spool.waiting()
    for name in found:
        here.app.notifications._spool.remove(name)
    return list(found.values())


def queued(here, path=b"a.mp4"):
    (job,) = here.app.store.add([(path, b"1")])
    job = here.move(job, "arrived", state=JobState.GRACE, waiting_on=Waiting.GRACE)
    return here.move(job, "queued", state=JobState.QUEUED, waiting_on=Waiting.TURN)


def test_end_and_empty_queue(here):
    """A failed clip is told with what to do, then that the queue is empty; a cancelled one is not."""
    first, second = queued(here), queued(here, b"b.mp4")
    here.app.store.apply(first, Failed(error="It is too dark. Light it better"))
    (failed,) = turn(here)
    assert (failed.kind, failed.text) == ("failed", "a.mp4: It is too dark. Light it better")
    assert failed.todo == "All of them: povwatch jobs --state failed"
    here.app.store.apply(second, Cancelled(why="It was deleted.", source_stat=None))
    (empty,) = turn(here)
    assert (empty.kind, empty.text) == ("queue-empty", "Since it was last empty: 1 failed.")
    assert turn(here) == []


def test_held_clips_hide_no_empty_queue(here):
    held = queued(here, b"held.mp4")
    here.move(held, "hold", state=JobState.GRACE, waiting_on=Waiting.HELD)
    here.app.store.apply(queued(here), Failed(error="No."))
    kinds = {one.kind: one for one in turn(here)}
    assert "1 clip(s) wait for somebody: povwatch status" in kinds["queue-empty"].todo


@pytest.mark.parametrize(("waiting", "kind"), [(Waiting.GPU_LOST, "gpu-lost"), (Waiting.DISK_FULL, "disk-full")])
def test_fault_is_told_once(here, waiting, kind):
    """A fault is told at once, not again while it lasts or flaps, and again when it comes back later."""
    blocked = Blocker(waiting, "It does not answer.")
    here.app.pool.blocker = blocked
    (told,) = turn(here)
    assert (told.kind, told.text) == (kind, "It does not answer.")
    assert told.todo
    here.app.pool.blocker = None
    assert turn(here) == []
    here.app.pool.blocker = blocked
    assert turn(here) == []
    here.app.pool.blocker = None
    turn(here, CLEAR_AFTER + 1)
    here.app.pool.blocker = blocked
    assert [one.kind for one in turn(here)] == [kind]


def test_stall_is_told_after_a_while(here):
    """Only if clips wait, and nobody asked for it."""
    here.app.pool.blocker = Blocker(Waiting.ENGINE_UNAVAILABLE, "No model.")
    assert turn(here, STALLED_AFTER + 1) == turn(here, STALLED_AFTER + 1) == []
    queued(here)
    assert turn(here) == []
    (told,) = turn(here, STALLED_AFTER)
    assert told.text == "Clips wait, and none could start for 15 minutes. No model."
    assert turn(here, STALLED_AFTER) == []
    here.app.pool.blocker = Blocker(Waiting.PAUSED, "Somebody paused it.", asked=True)
    turn(here, CLEAR_AFTER + 1)
    assert turn(here, STALLED_AFTER + 1) == []


def test_hung_worker_is_told(here):
    here.app.pool.lost[STALLED] += 1
    (told,) = turn(here)
    assert told.text.startswith("A worker made no progress")
    assert turn(here) == []


def test_full_or_refusing_spool_is_one_line(here, monkeypatch, capsys):
    """It costs one line of the log, however many notices there are, and no clip."""
    monkeypatch.setattr(spool, "WAITING_MAX", 1)
    for name in (b"a.mp4", b"b.mp4", b"c.mp4"):
        here.app.store.apply(queued(here, name), Failed(error="No."))
    assert capsys.readouterr().out.count("notify-full") == 1
    left(here)
    here.app.notifications._spool.folder.joinpath("sent.json").write_text("")
    for file in here.app.notifications._spool.folder.iterdir():
        file.unlink()
    here.app.notifications._spool.folder.rmdir()
    for name in (b"d.mp4", b"e.mp4"):
        here.app.store.apply(queued(here, name), Failed(error="No."))
    assert capsys.readouterr().out.count("notify-unwritten") == 1
    here.app.notifications.start()
    here.app.store.apply(queued(here, b"f.mp4"), Failed(error="No."))
    assert [one.count for one in left(here) if one.kind == "failed"] == [5]


def test_nobody_to_tell_costs_nothing(build):
    here = build()
    here.app.notifications.start()
    here.app.store.apply(queued(here), Failed(error="No."))
    turn(here)
    assert here.app.notifications.next_deadline() is None
    assert not (here.state / "notify").exists()
