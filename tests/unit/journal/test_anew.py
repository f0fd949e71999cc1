"""A journal that is made again: whole, or not there."""

from __future__ import annotations

import os

import pytest

from povwatch.core.errors import ConfigError, JournalError
from povwatch.core.job import Job, JobState, Waiting
from povwatch.journal import Journal, open_reader
from povwatch.journal.anew import Restored, is_used, made_anew, move_aside

DONE = Job(id=5, path=b"d/a.mp4", base=b"a", state=JobState.DONE, source_hash="A", spec_hash="s", engine="cosmos")


def made(state, *jobs, bases=None):
    with made_anew(state) as journal:
        journal.restore([Restored(job, ((1.0, "seen", {}), (2.0, "rebuilt", {"x": 1}))) for job in jobs], bases or {})
    return journal.replaced


def test_what_was_put_in_goes_on(tmp_path):
    """A journal that is made again has the jobs, the history and the names, and numbers go on."""
    held = Job(id=9, path=b"b.mp4", base=b"b", state=JobState.ARRIVING, waiting_on=Waiting.SETTLING, hold=True)
    assert made(tmp_path, DONE, held, bases={b"d/a.mp4": b"a", b"a.mov": b"a.mov"}) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.sqlite3", "lock"]
    with Journal.open(tmp_path) as journal:
        assert journal.job(5) == DONE
        assert journal.job(9) == held
        assert journal.done_run(DONE, "s", "cosmos") == DONE
        assert [(event.event, event.was, event.state) for event in journal.events(5)] == [
            ("seen", None, "done"),
            ("rebuilt", "done", "done"),
        ]
        (new,) = journal.add([(b"a.mov", b"stat")], 3.0)
        assert (new.id, new.base) == (10, b"a.mov")  # numbers go on, and names are as they were


def test_old_journal_is_moved_aside(tmp_path):
    """A journal that is there is moved aside, with all that belongs to it."""
    made(tmp_path, DONE)
    (tmp_path / "journal.sqlite3-wal").write_bytes(b"of the old one")
    assert made(tmp_path) == tmp_path / "journal.sqlite3.old-1"
    assert made(tmp_path) == tmp_path / "journal.sqlite3.old-2"
    names = sorted(path.name for path in tmp_path.iterdir())
    olds = ["journal.sqlite3.old-1", "journal.sqlite3.old-1-wal", "journal.sqlite3.old-2"]
    assert names == ["journal.sqlite3", *olds, "lock"]


def test_failure_leaves_all_as_it_was(tmp_path):
    made(tmp_path, DONE)
    twice = Restored(DONE, ())
    with pytest.raises(JournalError), made_anew(tmp_path) as journal:
        journal.restore([twice, twice], {})
    with open_reader(tmp_path) as reader:
        assert reader.job(5) == DONE
    made(tmp_path)  # the left-over is in nobody's way
    assert not list(tmp_path.glob("*rebuilding*"))


def test_daemons_journal_is_not_taken(tmp_path):
    with Journal.open(tmp_path), pytest.raises(ConfigError, match=f"pid {os.getpid()}"):
        made(tmp_path)


def test_whether_one_is_used(tmp_path):
    """A journal is used once it has a job, or if it cannot be read."""
    assert not is_used(tmp_path)
    (tmp_path / "journal.sqlite3").touch()
    assert not is_used(tmp_path)
    Journal.open(tmp_path).close()
    assert not is_used(tmp_path)
    with Journal.open(tmp_path) as journal:
        journal.add([(b"a.mp4", b"stat")], 1.0)
    assert is_used(tmp_path)
    (tmp_path / "journal.sqlite3").write_bytes(b"SQLite format 3\0" + bytes(8000))
    assert is_used(tmp_path)
    assert move_aside(tmp_path) is not None
    assert move_aside(tmp_path) is None


class Fresh(Exception):  # noqa: N818
    """What is raised where a journal would be begun."""


def begin():
    raise Fresh


def test_opener_is_asked_before_it_begins(tmp_path):
    """Whoever opens a journal is asked before a new one begins."""
    with pytest.raises(Fresh):
        Journal.open(tmp_path, fresh=begin)
    assert not (tmp_path / "journal.sqlite3").exists()
    (tmp_path / "journal.sqlite3").touch()
    with pytest.raises(Fresh):
        Journal.open(tmp_path, fresh=begin)
    assert (tmp_path / "journal.sqlite3").stat().st_size == 0
    Journal.open(tmp_path).close()
    Journal.open(tmp_path, fresh=begin).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file to somebody else takes root")
def test_owner_is_the_folders(tmp_path):
    """A journal that root made belongs to whom the folder belongs to."""
    os.chown(tmp_path, 1234, 2345)
    made(tmp_path, DONE)
    for name in ("journal.sqlite3", "lock"):
        status = (tmp_path / name).stat()
        assert (status.st_uid, status.st_gid) == (1234, 2345)
