"""rsync in the ways that people use it, killed in the midst and gone on with."""

from __future__ import annotations

import shutil
import signal

import pytest
from support.programs import Client, more, other_file_system, run, size, until

SLOW = "--bwlimit=400"
"""KiB a second: the clip takes three seconds, and is caught at a third of it."""


@pytest.fixture
def source(here, fast_film):
    """What is sent, under the name that it has at the other end."""
    path = here.folder / "a.mov"
    shutil.copyfile(fast_film, path)
    return path


def half_sent(here, source, *options, name=None):
    """An rsync that has sent a part of the clip. It keeps a quarter of a megabyte back before it writes."""
    rsync = Client("rsync", "-a", SLOW, *options, source, f"{here.inputs}/")

    def written():
        return max((size(path) for path in here.inputs.glob(name or ".a.mov.??????")), default=0)

    until(lambda: written() > source.stat().st_size / 4 or not rsync.running)
    assert rsync.running, "it was done before it could be caught"
    return rsync


@more
def test_rsync_is_seen_when_it_is_done(here, source):
    with half_sent(here, source) as rsync:
        here.daemon.ask("go", "nothing.mov")  # the daemon has had its turn
        assert not here.events()
        rsync.ends()
    here.came_in("a.mov", source)
    assert not here.events("arriving")
    run("rsync", "-a", source, f"{here.inputs}/")  # nothing to do, and nothing done
    here.comes_out("a.mov")


def test_rsync_partial_that_was_killed_waits_for_the_rest(here, source):
    with half_sent(here, source, "--partial") as rsync:
        rsync.send(signal.SIGINT)
        until((here.inputs / "a.mov").exists)  # its receiver tidies up after it, and is not to be killed before
    here.untouched(on="incomplete")
    with half_sent(here, source, "--partial"):
        here.wait_for("seen", clip="a.mov")
        here.untouched(on="incomplete")  # its temporary file is beside it
    here.untouched(on="incomplete")
    run("rsync", "-a", "--partial", source, f"{here.inputs}/")
    here.came_in("a.mov", source)


@pytest.mark.parametrize("resume", [pytest.param("--inplace", marks=more), "--append-verify"])
def test_rsync_inplace_that_stalls_and_is_killed_waits_for_the_rest(here, source, resume):
    with half_sent(here, source, "--inplace", name="a.mov") as rsync:
        rsync.stall()
        here.untouched(on="writer-open")
    here.untouched(on="incomplete")
    run("rsync", "-a", resume, "--no-whole-file", source, f"{here.inputs}/")
    here.came_in("a.mov", source)


@more
def test_rsync_inplace_over_a_clip_in_its_grace_is_another_clip(here, source, film):
    run("rsync", "-a", source, f"{here.inputs}/")
    here.came_in("a.mov", source)
    shutil.copyfile(film, source)
    # rsync takes files of one size and one second for the same, and both may be made in one
    run("rsync", "-a", "--ignore-times", "--inplace", "--no-whole-file", source, f"{here.inputs}/")
    here.came_in("a.mov", source, arrivals=2)
    here.comes_out("a.mov")


@more
@pytest.mark.parametrize("across", [False, True], ids=["within", "across"])
def test_rsync_with_its_temporary_folder_elsewhere(here, source, tmp_path, across):
    elsewhere = other_file_system(here.inputs) if across else tmp_path
    run("rsync", "-a", "-T", elsewhere, source, f"{here.inputs}/")
    here.came_in("a.mov", source)


@more
def test_rsync_with_a_folder_for_partial_files(here, source):
    options = ("--partial-dir=.rsync-partial", "--delay-updates")
    with half_sent(here, source, *options) as rsync:
        rsync.send(signal.SIGINT)
        rsync.process.wait()
    run("rsync", "-a", *options, source, f"{here.inputs}/")
    here.came_in("a.mov", source)
    assert not here.events("arriving")


def test_rsync_that_died_leaves_a_file_behind_that_holds_no_later_copy_back(here, source):
    with half_sent(here, source):
        pass  # killed: it could not tidy up
    assert list(here.inputs.glob(".a.mov.??????"))
    run("rsync", "-a", source, f"{here.inputs}/")
    here.came_in("a.mov", source)
    here.comes_out("a.mov")
