"""Disks that turn read-only, folders that may not be written and too few open files, for real and whole.

Nothing is charged, the queue waits as a whole, and it goes on by itself.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from contextlib import contextmanager

import pytest
from support.clips import make_clip
from support.daemons import Daemon, toy
from support.disks import remount, small_disk
from support.waiting import Waiting, newest, sound

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounts something, which takes root")

RESULT = ["a/a_preview.json", "a/a_preview.mp4"]


@contextmanager
def immutable(folder):
    """A folder in which not even root makes a file."""
    if subprocess.run(["chattr", "+i", folder], check=False, capture_output=True).returncode:
        pytest.skip(f"no folder can be made immutable here ({folder})")
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", folder], check=True)


def charged(daemon, *clips):
    return [newest(daemon, clip).attempts for clip in clips]


def lines(daemon, *events):
    return [line["event"] for line in daemon.events() if line["event"] in events]


@ROOT
def test_read_only_outputs_pause_the_queue(tmp_path):
    """Outputs that turn read-only pause the queue in one line, charge nothing, and it goes on by itself."""
    clips = [b"a.mp4", b"b.mp4", b"c.mp4"]
    with Daemon(tmp_path / "pov") as here, small_disk(here.outputs, 16):
        here.start()
        here.wait_for("engine-ready")
        remount(here.outputs, "ro")
        for clip in clips:
            here.clip(clip.decode())
        here.until(lambda: all((job := newest(here, clip)) and job.waiting_on == "paused" for clip in clips))
        assert "Read-only file system" in newest(here, b"b.mp4").detail
        assert charged(here, *clips) == [0, 0, 0]
        # One line for all of them.
        assert lines(here, "outputs-away", "queue-paused", "released", "failed", "started") == ["outputs-away"]
        remount(here.outputs, "rw")
        for clip in clips:
            here.wait_for("done", clip=clip.decode())
        assert charged(here, *clips) == [1, 1, 1]
        assert here.stop() == 0
        assert lines(here, "outputs-back") == ["outputs-back"]
        sound(here)


@ROOT
def test_read_only_under_the_engine(tmp_path):
    """Outputs that turn read-only under the engine give the attempt back."""
    with Waiting(tmp_path / "pov") as here, small_disk(here.outputs, 16):
        here.start()
        here.clip("a.mp4")
        here.until(lambda: here.runs)
        remount(here.outputs, "ro")
        here.let_go()
        here.until(lambda: (job := newest(here)).state == "queued" and job.waiting_on == "paused")
        assert charged(here, b"a.mp4") == [0]
        remount(here.outputs, "rw")
        here.wait_for("done", clip="a.mp4")
        assert here.stop() == 0
        assert charged(here, b"a.mp4") == [1]
        assert not lines(here, "failed", "retry")
        assert here.published() == RESULT
        sound(here)


@ROOT
def test_read_only_before_finishing(tmp_path):
    """Outputs that turn read-only before a result is finished cost no second generation."""
    with Daemon(tmp_path / "pov", engine={"kind": toy("turns_read_only")}) as here, small_disk(here.outputs, 16):
        here.env = {"TOY_RUNS": str(here.folder / "runs"), "TOY_DISK": str(here.outputs)}
        here.start()
        here.clip("a.mp4")
        here.until(lambda: (job := newest(here)) and job.state == "checking" and job.waiting_on == "paused")
        here.clip("b.mp4")
        here.until(lambda: (job := newest(here, b"b.mp4")) and job.waiting_on == "paused")
        remount(here.outputs, "rw")
        here.wait_for("done", clip="a.mp4")
        here.wait_for("done", clip="b.mp4")
        assert here.stop() == 0
        assert (here.folder / "runs").read_text().split() == ["1", "2"]
        assert charged(here, b"a.mp4", b"b.mp4") == [1, 1]
        assert not lines(here, "failed", "retry", "released")
        sound(here)


@ROOT
def test_promise_waits_for_its_folder(tmp_path):
    """A promise is kept once its folder can be written again; other clips go on meanwhile."""
    with Waiting(tmp_path / "pov") as here:
        target = here.outputs / "a"
        target.mkdir(parents=True)
        here.start()
        here.clip("a.mp4")
        here.until(lambda: here.runs)
        with immutable(target):
            here.let_go()
            here.wait_for("publish-later", clip="a.mp4")
            assert (newest(here).state, newest(here).waiting_on) == ("publishing", "paused")
            here.clip("b.mp4")
            here.wait_for("done", clip="b.mp4")
            assert here.published() == ["b/b_preview.json", "b/b_preview.mp4"]
        here.wait_for("done", clip="a.mp4", patience=60)
        assert here.stop() == 0
        assert here.runs == [1, 2]
        assert charged(here, b"a.mp4", b"b.mp4") == [1, 1]
        sound(here)


@ROOT
def test_own_folder_may_not_be_written(tmp_path):
    """A clip whose result folder may not be written is not generated, and holds up no other."""
    with Daemon(tmp_path / "pov") as here:
        target = here.outputs / "a"
        target.mkdir(parents=True)
        with immutable(target):
            here.start()
            here.clip("a.mp4")
            here.until(lambda: (job := newest(here)) and job.waiting_on == "paused")
            assert str(target) in newest(here).detail
            assert newest(here).not_before - time.time() < 2.5  # as machine_faults.py has it for the first time
            here.clip("b.mp4")
            here.wait_for("done", clip="b.mp4")
            assert charged(here, b"a.mp4") == [0]
        here.wait_for("done", clip="a.mp4", patience=60)
        assert here.stop() == 0
        assert not lines(here, "failed", "queue-paused")
        sound(here)


@ROOT
def test_read_only_inputs_and_outputs(tmp_path):
    """Read-only inputs and outputs at once cost nothing, whichever comes back first."""
    with Daemon(tmp_path / "pov") as here, small_disk(here.outputs, 16), small_disk(here.inputs, 16):
        here.start()
        here.copy(make_clip(here.folder / "made.mp4"), "a.mp4")
        here.wait_for("spec-written")
        remount(here.inputs, "ro")
        remount(here.outputs, "ro")
        here.wait_for("outputs-away")
        remount(here.outputs, "rw")
        here.wait_for("done", clip="a.mp4")
        remount(here.inputs, "rw")
        assert here.stop() == 0
        assert not lines(here, "failed", "retry")
        sound(here)


@contextmanager
def few_open_files(daemon):
    """The daemon may open one file more than it has open."""
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    held = len(os.listdir(f"/proc/{daemon.pid}/fd"))  # noqa: PTH208
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (held + 1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("what", [".povwatch", "."])
def test_result_removed_while_checked(tmp_path, what):
    """A result that is removed while it is checked is generated again, and charged once."""
    with Waiting(tmp_path / "pov") as here:
        here.start()
        here.clip("a.mp4")
        here.until(lambda: here.runs)
        with few_open_files(here):  # it is checked for as long as that takes
            here.let_go()
            here.wait_for("check-later", clip="a.mp4")
            shutil.rmtree(here.outputs / what)
        if what == ".":
            here.wait_for("outputs-away")
            here.outputs.mkdir()
        here.wait_for("done", clip="a.mp4", patience=60)
        assert here.stop() == 0
        assert here.runs == [1, 1]
        assert charged(here, b"a.mp4") == [1]
        assert not lines(here, "failed", "retry")
        assert "kept" not in here.events("check-later", clip="a.mp4")[-1]["message"]
        assert here.published() == RESULT
        sound(here)


def test_too_few_open_files_in_checking(tmp_path):
    """Too few open files cost neither an attempt nor a second generation."""
    with Waiting(tmp_path / "pov") as here:
        here.start()
        here.clip("a.mp4")
        here.until(lambda: here.runs)
        with few_open_files(here):
            here.let_go()
            here.wait_for("check-later", clip="a.mp4")
            assert (newest(here).state, newest(here).waiting_on) == ("checking", "paused")
            assert "Too many open files" in newest(here).detail
            assert "ulimit -n" in newest(here).detail
            assert here.running
        here.wait_for("done", clip="a.mp4", patience=90)
        assert here.stop() == 0
        assert here.runs == [1]
        assert charged(here, b"a.mp4") == [1]
        assert not lines(here, "failed", "retry", "released")
        sound(here)


def test_daemon_with_few_open_files(tmp_path):
    """A daemon that may open few files gets every clip done, and charges nothing more."""
    with Daemon(tmp_path / "pov") as here:
        here.wrapper = ["sh", "-c", 'ulimit -n 32; exec "$@"', "sh"]
        here.start()
        for number in range(4):
            here.clip(f"clip{number}.mp4")
        for number in range(4):
            here.wait_for("done", clip=f"clip{number}.mp4", patience=120)
        assert here.stop() == 0
        assert charged(here, *(b"clip%d.mp4" % number for number in range(4))) == [1] * 4
        assert not lines(here, "failed", "retry")
        sound(here)
