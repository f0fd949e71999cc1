"""Clips that are followed on their way in: seen, changed, gone, cancelled."""

from __future__ import annotations

import pytest
from support.arrivals import SETTLE
from support.clips import make_clip

from povwatch.arrival.stage import GONE_PATIENCE, LET_GO_QUIET
from povwatch.core.job import JobState, Waiting
from povwatch.core.retry import backoff

pytestmark = pytest.mark.usefixtures("forked_media_children")


def test_clip_has_one_timer(here):
    """A clip has one timer, however often it changes."""
    clip = here.inputs / "a.mp4"
    for size in range(1, 200):
        clip.write_bytes(bytes(size))
        here.rescan()
        here.clock.now += 0.01
    samples = []
    sample = here.arrival._sample
    here.arrival._sample = lambda *args: (samples.append(args), sample(*args))
    here.until(here.clock.now + SETTLE + 1)
    assert len(samples) <= 4
    assert here.newest().waiting_on is Waiting.INCOMPLETE


def test_gone_clip_has_five_seconds(here):
    """A clip that is gone has five seconds to come back."""
    clip, aside = here.inputs / "a.mp4", here.inputs.parent / "aside.mp4"
    clip.touch()
    here.rescan()
    here.until(1010)
    clip.rename(aside)
    here.rescan()
    here.until(1010 + GONE_PATIENCE - 0.1)
    assert here.gone == []
    aside.rename(clip)
    here.until(1030)
    assert here.gone == []
    clip.unlink()
    here.rescan()
    here.until(1030 + GONE_PATIENCE)
    assert here.gone == [b"a.mp4"]


def test_later_partial_holds_it_back(here):
    """A partial file that comes after the last rescan holds a clip back."""
    make_clip(here.inputs / "a.mp4")
    here.rescan()
    (here.inputs / "a.mp4.crdownload").touch()
    here.until(1000 + SETTLE + 1)
    assert (here.newest().state, here.newest().waiting_on) == (JobState.ARRIVING, Waiting.INCOMPLETE)
    assert here.newest().detail == "a.mp4.crdownload is still beside it"
    assert not here.arrival.moving
    (here.inputs / "a.mp4.crdownload").unlink()
    here.rescan()
    here.until(1000 + 3 * SETTLE)
    here.settle()
    assert here.arrived == [b"a.mp4"]


def test_older_partial_is_a_left_over(here):
    """A partial file that is older than the clip does not hold it back."""
    (here.inputs / "a.mp4.part").touch()
    make_clip(here.inputs / "a.mp4")
    here.rescan()
    here.until(1000 + SETTLE + 1)
    here.settle()
    assert here.arrived == [b"a.mp4"]


def test_partial_holds_it_not_moving(here):
    """A clip that a partial file holds back counts as not moving until that is gone."""
    make_clip(here.inputs / "a.mp4")
    (here.inputs / "a.mp4.part").touch()
    here.rescan()
    here.until(1000 + 2 * SETTLE)
    assert here.newest().waiting_on is Waiting.INCOMPLETE
    assert not here.arrival.moving
    (here.inputs / "a.mp4.part").unlink()
    here.rescan()
    assert here.arrival.moving


def test_fault_of_ours_costs_one_clip(here, monkeypatch):
    """An exception costs one clip one look; it and the others go on."""
    (here.inputs / "a.mp4").touch()
    (here.inputs / "b.mp4").touch()
    here.rescan()
    real = here.arrival._files.sample

    def sample(path):
        if path == b"a.mp4":
            raise ZeroDivisionError
        return real(path)

    monkeypatch.setattr(here.arrival._files, "sample", sample)
    here.clock.now += SETTLE
    here.arrival.tick(here.clock.now)
    assert {type(error) for error in here.unforeseen} == {ZeroDivisionError}
    here.unforeseen.clear()
    monkeypatch.undo()
    here.clock.now += backoff(1)
    here.app.mishaps.tick(here.clock.now)
    here.until(1000 + 4 * SETTLE)
    for path in (b"a.mp4", b"b.mp4"):
        assert here.newest(path).waiting_on is Waiting.INCOMPLETE


def test_gone_clips_at_the_start(here):
    """Jobs of clips that are gone at the start are withdrawn after the patience."""
    (here.inputs / "a.mp4").touch()
    here.rescan()
    (here.inputs / "a.mp4").unlink()
    here.restart()
    here.rescan()
    here.until(1000 + GONE_PATIENCE + SETTLE)
    assert here.gone == [b"a.mp4"]


def test_cancelled_copy_is_not_taken_again(here):
    """A copy that was cancelled is not taken in again while it grows, only once it is quiet."""

    def grow():
        with (here.inputs / "a.mp4").open("ab") as file:
            file.write(b"more")
        here.rescan()
        return len(here.app.journal.jobs())

    assert grow() == 1
    here.cancel()
    for _ in range(5):
        here.clock.now += 30
        assert grow() == 1
    here.clock.now += LET_GO_QUIET
    assert grow() == 2


def test_another_file_is_taken_at_once(here):
    """Another file in the place of a cancelled one is taken in at once."""
    clip = here.inputs / "a.mp4"
    clip.write_bytes(b"some of it")
    here.rescan()
    here.cancel()
    (here.inputs / "b").write_bytes(b"something else altogether")
    (here.inputs / "b").rename(clip)
    here.rescan()
    assert len(here.app.journal.jobs()) == 2


def test_cancelled_gone_clip_may_come_back(here):
    """A claimed clip was gone as its copy was to be made; it is cancelled, and somebody moves it back."""
    clip, away = here.inputs / "a.mp4", here.inputs.parent / "away.mp4"
    make_clip(away)
    (job,) = here.app.store.add([(b"a.mp4", b"")])
    here.arrival.enter(job)
    here.until(1000 + GONE_PATIENCE + SETTLE)
    assert here.gone == [b"a.mp4"]
    assert here.newest().state is JobState.CANCELLED
    away.rename(clip)
    here.rescan()
    assert here.newest().state is JobState.ARRIVING
    assert here.newest().id != job.id


def test_clip_moved_away_may_come_back(here):
    """A clip that is moved away while it settles, and back, is a new job."""
    clip, away = here.inputs / "a.mp4", here.inputs.parent / "away.mp4"
    make_clip(clip)
    here.rescan()
    job = here.newest()
    clip.rename(away)
    here.rescan()
    here.until(here.clock.now + GONE_PATIENCE + SETTLE)
    assert here.gone == [b"a.mp4"]
    assert here.newest().state is JobState.CANCELLED
    away.rename(clip)
    here.rescan()
    assert here.newest().id != job.id
    assert here.newest().state is JobState.ARRIVING
