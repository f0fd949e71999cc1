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


def test_cp_that_stalls_half_way_is_waited_for(here, fast_film):
    feed = Feed(here.folder / "camera", fast_film.read_bytes())
    with Client("cp", feed.path, here.inputs / "a.mov") as cp:
        feed.give(0.5, here.inputs / "a.mov")
        here.untouched(on="writer-open")
        feed.end()
        cp.ends()
    here.came_in("a.mov", fast_film)
    here.comes_out("a.mov")


@more
def test_cp_that_was_killed_half_way_and_begun_anew_is_one_clip(here, fast_film):
    feed = Feed(here.folder / "camera", fast_film.read_bytes())
    with Client("cp", feed.path, here.inputs / "a.mov"):
        feed.give(0.5, here.inputs / "a.mov")
    here.untouched(on="incomplete")
    run("cp", "-p", fast_film, here.inputs / "a.mov")
    here.came_in("a.mov", fast_film)


@more
def test_cp_with_an_old_date_over_a_clip_in_its_grace_is_another_clip(here, film, fast_film):
    run("cp", "-p", film, here.inputs / "a.mov")
    here.came_in("a.mov", film)
    os.utime(fast_film, (0, 0))
    run("cp", "-p", fast_film, here.inputs / "a.mov")
    here.came_in("a.mov", fast_film, arrivals=2)


@more
def test_mv_within_a_file_system(here, film):
    shutil.copyfile(film, here.folder / "b.mov")
    run("mv", here.folder / "b.mov", here.inputs / "a.mov")
    here.came_in("a.mov", film)


@more
def test_mv_across_file_systems(here, film, elsewhere):
    shutil.copyfile(film, elsewhere / "a.mov")
    os.utime(elsewhere / "a.mov", (0, 0))
    run("mv", elsewhere / "a.mov", here.inputs)
    here.came_in("a.mov", film)


def test_mv_of_a_folder_across_file_systems(here, film, fast_film, elsewhere):
    day = elsewhere / "monday"
    (day / "kitchen").mkdir(parents=True)
    shutil.copyfile(film, day / "a.mov")
    shutil.copyfile(fast_film, day / "kitchen" / "a.mov")
    run("mv", day, here.inputs)
    here.came_in("monday/a.mov", film)
    here.came_in("monday/kitchen/a.mov", fast_film)


@more
def test_mv_to_another_name_within_inputs_takes_the_job_along_as_a_new_one(here, film):
    shutil.copyfile(film, here.inputs / "a.mov")
    here.came_in("a.mov", film)
    run("mv", here.inputs / "a.mov", here.inputs / "b.mov")
    here.came_in("b.mov", film)
    here.wait_for("cancelled", clip="a.mov")
    here.comes_out("b.mov")


def test_ln_to_a_file_that_is_still_written_under_its_other_name(here, fast_film):
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
def test_a_second_link_to_a_clip_and_new_rights_are_no_change_of_it(here, film):
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
