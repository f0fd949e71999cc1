"""cp, mv and ln: within a file system, across, and while the source is still being written."""

from __future__ import annotations

import os
import shutil

import pytest
from support.programs import Client, Feed, more, other_file_system, run


@pytest.fixture
def elsewhere(here):
    """A folder on another file system."""
    folder = other_file_system(here.inputs) / f"povwatch-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_stalled_cp_is_waited_for(here, fast_film):
    feed = Feed(here.folder / "camera", fast_film.read_bytes())
    with Client("cp", feed.path, here.inputs / "a.mov") as cp:
        feed.give(0.5, here.inputs / "a.mov")
        here.untouched(on="writer-open")
        feed.end()
        cp.ends()
    here.came_in("a.mov", fast_film)
    here.comes_out("a.mov")


@more
def test_killed_cp_begun_anew_is_one_clip(here, fast_film):
    feed = Feed(here.folder / "camera", fast_film.read_bytes())
    with Client("cp", feed.path, here.inputs / "a.mov"):
        feed.give(0.5, here.inputs / "a.mov")
    here.untouched(on="incomplete")
    run("cp", "-p", fast_film, here.inputs / "a.mov")
    here.came_in("a.mov", fast_film)


@more
def test_cp_with_an_old_date_over_a_clip(here, film, fast_film):
    """cp of another video with an old date over a clip in its grace is another clip."""
    run("cp", "-p", film, here.inputs / "a.mov")
    here.came_in("a.mov", film)
    os.utime(fast_film, (0, 0))
    run("cp", "-p", fast_film, here.inputs / "a.mov")
    here.came_in("a.mov", fast_film, arrivals=2)


@more
def test_mv_within_a_file_system(here, film):
    """A clip that is moved within a file system arrives once, as it was."""
    shutil.copyfile(film, here.folder / "b.mov")
    run("mv", here.folder / "b.mov", here.inputs / "a.mov")
    here.came_in("a.mov", film)


@more
def test_mv_across_file_systems(here, film, elsewhere):
    """A clip that is moved across file systems arrives once, as it was."""
    shutil.copyfile(film, elsewhere / "a.mov")
    os.utime(elsewhere / "a.mov", (0, 0))
    run("mv", elsewhere / "a.mov", here.inputs)
    here.came_in("a.mov", film)


def test_mv_of_a_folder_across_file_systems(here, film, fast_film, elsewhere):
    """Each clip of a folder that is moved across file systems arrives in its own place."""
    day = elsewhere / "monday"
    (day / "kitchen").mkdir(parents=True)
    shutil.copyfile(film, day / "a.mov")
    shutil.copyfile(fast_film, day / "kitchen" / "a.mov")
    run("mv", day, here.inputs)
    here.came_in("monday/a.mov", film)
    here.came_in("monday/kitchen/a.mov", fast_film)


@more
def test_mv_to_another_name(here, film):
    """mv of a clip to another name cancels the old job, and the new one is done."""
    shutil.copyfile(film, here.inputs / "a.mov")
    here.came_in("a.mov", film)
    run("mv", here.inputs / "a.mov", here.inputs / "b.mov")
    here.came_in("b.mov", film)
    here.wait_for("cancelled", clip="a.mov")
    here.comes_out("b.mov")


def test_ln_to_a_file_still_written(here, fast_film):
    """A link to a file that is still written under its other name waits for the writer."""
    other = here.folder / "recording.mov"
    feed = Feed(here.folder / "camera", fast_film.read_bytes())
    with Client("cp", feed.path, other) as cp:
        feed.give(0.5, other)
        run("ln", other, here.inputs / "a.mov")
        here.untouched(on="writer-open")
        feed.end()
        cp.ends()
    here.came_in("a.mov", fast_film)


@more
def test_second_link_and_new_rights(here, film):
    """A second link to a clip and other rights are no change of it."""
    run("cp", "-l", film, here.inputs / "a.mov")
    here.came_in("a.mov", film)
    run("ln", here.inputs / "a.mov", here.folder / "backup.mov")
    run("chmod", "600", here.inputs / "a.mov")
    here.wait_for("arrived", clip="a.mov", count=2)  # it is looked at again, once or twice, and found the same
    here.comes_out("a.mov")
    assert not here.events("edited", clip="a.mov")
    assert len(here.events("seen")) == 1


@more
def test_ln_s_is_refused_in_words(here, film):
    run("ln", "-s", film, here.inputs / "a.mov")
    assert "symbolic link" in here.wait_for("rejected", clip="a.mov")["problem"]
    assert "symbolic link" in (here.inputs / "a.error.txt").read_text()
