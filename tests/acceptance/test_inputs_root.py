"""The inputs folder itself: made, removed, covered by a mount, away."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from support.clips import make_clip
from support.daemons import Daemon


@pytest.fixture
def here(tmp_path):
    with Daemon(tmp_path / "pov", grace={"period": "1h"}) as daemon:
        yield daemon


@contextmanager
def mounted(*arguments):
    """A mount, taken away at the end or before."""
    target = arguments[-1]
    done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting is not possible here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", target], check=False, capture_output=True)


root_only = pytest.mark.skipif(os.getuid() != 0, reason="mounting takes root")


def test_missing_folder_is_made(here):
    """An inputs folder that is missing is made, and watched."""
    here.inputs.rmdir()
    here.start()
    here.until(here.inputs.is_dir)
    here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")


def test_remade_folder_is_watched_again(here):
    """An inputs folder that is removed and made anew is watched again; its former clips are cancelled."""
    here.configure(grace={"period": "1h"}, arrival={"settle": "200ms", "rescan": "1h"})
    here.clip("a.mp4")
    here.start().wait_for("grace", clip="a.mp4")
    shutil.rmtree(here.inputs)
    here.inputs.mkdir()
    here.wait_for("watch-restarted")
    here.clip("b.mp4")
    here.wait_for("grace", clip="b.mp4")
    here.wait_for("cancelled", clip="a.mp4")


def test_missing_folder_cancels_nothing(here):
    """While the inputs folder is gone nothing is cancelled, and it goes on when the folder is back."""
    here.clip("a.mp4")
    here.start().wait_for("grace", clip="a.mp4")
    aside = here.folder / "aside"
    here.inputs.rename(aside)
    here.wait_for("inputs-away")
    aside.rename(here.inputs)
    here.wait_for("inputs-back")
    here.clip("b.mp4")
    here.wait_for("grace", clip="b.mp4")
    assert here.ask("go", "a.mp4").done
    here.wait_for("queued", clip="a.mp4")
    assert not here.events("cancelled")


@root_only
@pytest.mark.parametrize("what", ["tmpfs", "bind"])
def test_covering_mount_cancels_nothing(here, what):
    """A mount over inputs/ cancels nothing, and nothing is written to it."""
    here.clip("a.mp4")
    here.start().wait_for("grace", clip="a.mp4")
    over = here.folder / "over"
    over.mkdir()
    arguments = ["-t", "tmpfs", "none"] if what == "tmpfs" else ["--bind", str(over)]
    with mounted(*arguments, str(here.inputs)):
        said = here.wait_for("inputs-away")
        assert "mount" in said["message"]
    here.wait_for("inputs-back")
    here.clip("b.mp4")
    here.wait_for("grace", clip="b.mp4")
    assert not here.events("cancelled")
    assert here.peek("a.mp4")["state"] == "grace"
    assert list(over.iterdir()) == []


@root_only
def test_unmounted_share_cancels_nothing(here):
    """A share that is not mounted at the next start cancels nothing."""
    with mounted("-t", "tmpfs", "none", str(here.inputs)):
        make_clip(here.inputs / "a.mp4")
        here.start().wait_for("grace", clip="a.mp4")
        here.stop()
    here.start()
    here.wait_for("inputs-away", start=2)
    assert here.peek("a.mp4")["state"] == "grace"
    here.stop()
    assert not here.events("cancelled")


def test_clip_deleted_without_a_daemon(here):
    """Clips that are deleted while no daemon runs are cancelled at the next start."""
    here.configure(grace={"period": "1h"}, arrival={"settle": "200ms"})
    here.clip("a.mp4")
    (here.inputs / "cut.mp4").write_bytes(here.inputs.joinpath("a.mp4").read_bytes()[:1000])
    here.start().wait_for("grace", clip="a.mp4")
    here.wait_state("cut.mp4", "arriving", waiting_on="incomplete")
    here.kill()
    (here.inputs / "a.mp4").unlink()
    (here.inputs / "cut.mp4").unlink()
    here.start()
    here.wait_for("cancelled", clip="a.mp4")
    here.wait_for("cancelled", clip="cut.mp4")


def test_grace_survives_a_kill(here):
    """The rest of the grace goes on after a kill, and the clip arrives once."""
    here.configure(grace={"period": "4s"})
    here.clip("a.mp4")
    here.start().wait_for("grace", clip="a.mp4")
    here.kill()
    here.start()
    assert here.wait_for("grace", clip="a.mp4", start=2)
    assert len(here.events("spec-written")) == 1
    here.wait_for("queued", clip="a.mp4", start=2)
    assert len(here.events("arrived")) == 1
    here.wait_for("queued", clip="a.mp4")
