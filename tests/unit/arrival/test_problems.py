"""What keeps clips from arriving, and when an error file says so."""

from __future__ import annotations

import pytest
from support.arrivals import SETTLE
from support.clips import make_clip
from support.damaged import noisy, remuxed

from povwatch.arrival.problems import INCOMPLETE_PATIENCE
from povwatch.core.job import JobState, Waiting

pytestmark = pytest.mark.usefixtures("forked_media_children")


def test_error_file_after_fifteen_minutes(here):
    """The error file of an incomplete clip comes after fifteen minutes, and not before."""
    clip = here.inputs / "a.mp4"
    data = make_clip(here.inputs.parent / "made.mp4").read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    error = here.inputs / "a.error.txt"
    here.rescan()
    here.until(1000 + INCOMPLETE_PATIENCE - 1)
    assert here.newest().waiting_on is Waiting.INCOMPLETE
    assert not error.exists()
    here.until(1000 + INCOMPLETE_PATIENCE + SETTLE)
    assert "incomplete" in error.read_text()
    assert "%" in error.read_text()
    assert "Copy it again" in error.read_text()


def test_error_file_names_go_damaged(here):
    """The error file of a clip that decodes in part names go --damaged; that of another does not."""
    made = noisy(here.inputs.parent / "made.mp4")
    data = remuxed(made, here.inputs.parent / "front.mp4", movflags="faststart").read_bytes()
    (here.inputs / "a.mp4").write_bytes(data[: len(data) * 2 // 3])
    (here.inputs / "b.mp4").write_bytes(made.read_bytes()[: len(data) * 2 // 3])  # its index is missing
    here.rescan()
    here.until(1000 + INCOMPLETE_PATIENCE + 2 * SETTLE)
    assert "have what can be decoded run: povwatch go --damaged a.mp4" in (here.inputs / "a.error.txt").read_text()
    assert "--damaged" not in (here.inputs / "b.error.txt").read_text()


def test_more_bytes_start_the_patience_anew(here):
    clip = here.inputs / "a.mp4"
    data = make_clip(here.inputs.parent / "made.mp4").read_bytes()
    clip.write_bytes(data[: len(data) // 4])
    here.rescan()
    here.until(1800)
    clip.write_bytes(data[: len(data) // 2])
    here.rescan()
    here.until(1800 + INCOMPLETE_PATIENCE - 1)
    assert not (here.inputs / "a.error.txt").exists()
    here.until(1800 + INCOMPLETE_PATIENCE + SETTLE)
    assert (here.inputs / "a.error.txt").exists()


def test_patience_goes_on_over_a_restart(here):
    clip = here.inputs / "a.mp4"
    clip.touch()
    here.rescan()
    here.until(1000 + INCOMPLETE_PATIENCE - 60)
    here.restart()  # a minute before it would be said
    here.rescan()
    here.until(1000 + INCOMPLETE_PATIENCE - 10)
    assert not (here.inputs / "a.error.txt").exists()
    here.until(1000 + INCOMPLETE_PATIENCE + 2 * SETTLE)
    assert (here.inputs / "a.error.txt").exists()


def test_waiting_clips_have_patience_due(here):
    """Clips that wait have nothing due but their patience, and count as not moving."""
    for number in range(50):
        (here.inputs / f"{number}.mp4").touch()
    here.rescan()
    here.until(1000 + 3 * SETTLE)
    assert here.arrival.next_deadline() == 1000 + INCOMPLETE_PATIENCE
    assert not here.arrival.moving


def test_partial_for_long_is_told(here):
    """A partial file that holds a clip back for long is told in the error file."""
    make_clip(here.inputs / "a.mp4")
    (here.inputs / "a.mp4.part").touch()
    here.rescan()
    here.until(1000 + INCOMPLETE_PATIENCE - 1)
    error = here.inputs / "a.error.txt"
    assert not error.exists()
    here.until(1000 + INCOMPLETE_PATIENCE + 2 * SETTLE)
    assert "a.mp4.part is still beside it" in error.read_text()
    assert "delete a.mp4.part" in error.read_text()
    (here.inputs / "a.mp4.part").unlink()
    here.rescan()
    here.until(1000 + INCOMPLETE_PATIENCE + 4 * SETTLE)
    here.settle()
    assert here.arrived == [b"a.mp4"]
    assert not error.exists()


def test_error_file_goes_with_its_clip(here):
    """The error file of a rejected clip is removed with it, and not before."""
    (here.inputs / "a.mp4").write_text("no video\n" * 20)
    here.rescan()
    here.until(1000 + 2 * SETTLE)
    assert here.newest().state is JobState.REJECTED
    assert (here.inputs / "a.error.txt").exists()
    here.rescan()
    assert (here.inputs / "a.error.txt").exists()
    (here.inputs / "a.mp4").unlink()
    here.rescan()
    assert not (here.inputs / "a.error.txt").exists()


def test_taken_over_error_file_stays(here):
    """An error file that another clip has taken over stays."""
    (here.inputs / "a.mp4").write_text("no video\n" * 20)
    here.rescan()
    here.until(1000 + 2 * SETTLE)
    (here.inputs / "a.mp4").unlink()
    here.app.journal.give_base_back(b"a.mp4")
    (here.inputs / "a.mov").write_text("no video either\n" * 20)
    here.rescan()
    here.until(1000 + 5 * SETTLE)
    assert here.newest(b"a.mov").base == b"a"
    here.rescan()
    assert "a.mov" in (here.inputs / "a.error.txt").read_text()
