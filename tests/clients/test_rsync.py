"""rsync in the ways that people use it, killed in the middle and gone on with."""

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
    """rsync's temporary file is not seen, and a second rsync that changes nothing starts nothing."""
    with half_sent(here, source) as rsync:
        here.daemon.ask("go", "nothing.mov")  # the daemon has had its turn
        assert not here.events()
        rsync.ends()
    here.came_in("a.mov", source)
    assert not here.events("arriving")
    run("rsync", "-a", source, f"{here.inputs}/")  # nothing to do, and nothing done
    here.comes_out("a.mov")


def test_killed_rsync_partial_waits(here, source):
    """What rsync --partial leaves when it is killed waits for the rest."""
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
def test_killed_rsync_inplace_waits(here, source, resume):
    """What rsync --inplace leaves when it stalls and is killed waits for the rest."""
    with half_sent(here, source, "--inplace", name="a.mov") as rsync:
        rsync.stall()
        here.untouched(on="writer-open")
    here.untouched(on="incomplete")
    run("rsync", "-a", resume, "--no-whole-file", source, f"{here.inputs}/")
    here.came_in("a.mov", source)


@more
def test_rsync_inplace_over_a_clip(here, source, film):
    """rsync --inplace of another video over a clip in its grace is another clip."""
    run("rsync", "-a", source, f"{here.inputs}/")
    here.came_in("a.mov", source)
    shutil.copyfile(film, source)
    # rsync takes files of one size and one second for the same, and both may be made in one
    run("rsync", "-a", "--ignore-times", "--inplace", "--no-whole-file", source, f"{here.inputs}/")
    here.came_in("a.mov", source, arrivals=2)
    here.comes_out("a.mov")


@more
@pytest.mark.parametrize("across", [False, True], ids=["within", "across"])
def test_rsync_with_a_temporary_folder(here, source, tmp_path, across):
    """rsync with its temporary folder elsewhere is one clip."""
    elsewhere = other_file_system(here.inputs) if across else tmp_path
    run("rsync", "-a", "-T", elsewhere, source, f"{here.inputs}/")
    here.came_in("a.mov", source)


@more
def test_rsync_with_a_partial_folder(here, source):
    """rsync with a folder for partial files is seen only when it is done."""
    options = ("--partial-dir=.rsync-partial", "--delay-updates")
    with half_sent(here, source, *options) as rsync:
        rsync.send(signal.SIGINT)
        rsync.process.wait()
    run("rsync", "-a", *options, source, f"{here.inputs}/")
    here.came_in("a.mov", source)
    assert not here.events("arriving")


def test_dead_rsync_delays_no_later_copy(here, source):
    """The temporary file of a dead rsync does not hold a later copy back."""
    with half_sent(here, source):
        pass  # killed: it could not tidy up
    assert list(here.inputs.glob(".a.mov.??????"))
    run("rsync", "-a", source, f"{here.inputs}/")
    here.came_in("a.mov", source)
    here.comes_out("a.mov")
