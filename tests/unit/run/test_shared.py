"""The copies that the looks of a clip share: made once, with a real clip, and gone when no look needs them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.looks import PERIOD, Looks

from povwatch.core.job import JobState
from povwatch.media.run import call

pytestmark = pytest.mark.usefixtures("forked_media_children")


class Sharing(Looks):
    """A clip whose looks are queued. Their copies are made for attempts that nobody runs."""

    def __init__(self, folder):
        super().__init__(folder)
        self.copy(frames=5, audio="aac", fps=25)

    def queue(self, *looks):
        for look in looks:
            self.write(look)
        self.rescan()
        self.until(PERIOD + 1)
        assert set(self.states().values()) == {"queued"}

    def begin(self, look=""):
        job = self.jobs()[look]
        return self.app.preparing.begin(job, f"run{job.id}", self.app.grace.spec_of(job))

    def prepare(self, *looks):
        """Make the copies for these looks, one after the other."""
        found = []
        for look in looks:
            found.append(self.begin(look))
            self.settle()
            assert found[-1].prepared, found[-1].failure
        return found

    def shared(self):
        return sorted((self.outputs / ".povwatch").glob("clip.*"))

    def tick(self):
        self.app.preparing.tick(self.clock.now, wanted=0)


@pytest.fixture
def here(tmp_path):
    made = Sharing(tmp_path)
    yield made
    made.close()
    assert made.shared() == []
    made.no_bug()


def files(active):
    attempt = active.attempt
    return [
        Path(path) for path in (attempt.source, *map(attempt.prepared.get, ("path", "times")), attempt.sound["path"])
    ]


def same_files(*actives):
    """How many files there are of each kind."""
    return [len({path.stat().st_ino for path in of_kind}) for of_kind in zip(*map(files, actives), strict=True)]


def test_twenty_looks_share_one_copy(here, monkeypatch):
    """Twenty looks of a clip cost one private copy, one working copy and one sound."""
    names = [f"n{number}" for number in range(20)]
    here.queue(*names)
    asked = []
    monkeypatch.setattr(
        "povwatch.attempt.attempt.call", lambda what, *a, **n: asked.append(what) or call(what, *a, **n)
    )
    found = here.prepare("", *names)
    assert same_files(*found) == [1, 1, 1, 1]
    assert asked == ["prepare"]
    assert len({active.attempt.folder for active in found}) == 21
    for active in found:
        assert all(path.is_relative_to(active.attempt.folder) for path in files(active))
        assert active.attempt.info == found[0].attempt.info
    room = here.outputs / ".povwatch"
    once = sum(path.stat().st_size for path in set(files(found[0])))
    every = {path.stat().st_ino: path.stat().st_size for path in room.rglob("*") if path.is_file()}
    assert sum(every.values()) == once, "bytes are there once"


def test_each_has_names_of_its_own(here):
    """A look keeps its copies when the folder of the one that made them is deleted, and the shared one too."""
    here.queue("night")
    first, second = here.prepare("", "night")
    here.app.publisher.staging.delete_attempt(first.job, first.run_id)
    here.app.preparing.drop_all()
    assert here.shared() == []
    assert all(path.stat().st_size for path in files(second))


def test_two_at_once_make_one_copy(here):
    """Two workers that come to a clip's looks at once make one copy."""
    here.queue("night", "rain")
    found = [here.begin(look) for look in ("", "night", "rain")]
    here.settle()
    assert [active.failure for active in found] == [None, None, None]
    assert same_files(*found) == [1, 1, 1, 1]


def test_kept_while_a_look_waits(here):
    """The copies stay while a look of the clip waits, held or not, and go with the last one."""
    here.queue("night", "rain")
    here.prepare("")
    for look in ("", "night"):
        here.app.store.cancel(here.jobs()[look], "no longer wanted")
    here.tick()
    assert len(here.shared()) == 1
    here.app.store.cancel(here.jobs()["rain"], "no longer wanted")
    here.tick()
    assert here.shared() == []


def test_clip_with_its_own_look_alone(here):
    """A clip without further looks shares nothing."""
    here.queue()
    here.prepare("")
    assert here.shared() == []


def test_without_hard_links(here, monkeypatch):
    """On a file system without hard links, each look has its own copies."""
    here.queue("night")

    def refused(*_, **__):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refused)
    found = here.prepare("", "night")
    assert same_files(*found) == [2, 2, 2, 2]


def test_copies_that_went_away(here):
    """If somebody removes the shared copies, the next look makes them again."""
    here.queue("night", "rain")
    here.prepare("")
    (folder,) = here.shared()
    for file in folder.iterdir():
        file.unlink()
    found = here.prepare("night", "rain")
    assert same_files(*found) == [1, 1, 1, 1]


def test_another_video_has_its_own(here):
    """After the clip was replaced, its looks do not get the copies of the one before."""
    here.queue("night")
    (old,) = here.prepare("")
    here.copy(frames=3, audio="aac", fps=25)
    here.until(PERIOD + 1)
    assert here.jobs()["night"].state is JobState.QUEUED
    (new,) = here.prepare("night")
    assert same_files(old, new) == [2, 2, 2, 2]
    assert new.attempt.prepared["frames"] == 3


def test_gone_after_a_kill(here):
    """The next start deletes what was shared, and the looks make it again, once."""
    here.queue("night", "rain")
    here.prepare("")
    here.restart(away=1)
    from povwatch.daemon.recovery import sweep  # noqa: PLC0415

    sweep(here.app.store, here.app.publisher.staging)
    assert here.shared() == []
    here.rescan()
    here.until(PERIOD)
    found = here.prepare("night", "rain")
    assert same_files(*found) == [1, 1, 1, 1]
