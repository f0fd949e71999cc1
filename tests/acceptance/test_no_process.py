"""A machine that starts no process for a while: clips wait, none is charged, and --once ends."""

from __future__ import annotations

import textwrap

import pytest
from support.daemons import Daemon

REFUSES = """
    import os, subprocess
    start = subprocess.Popen.__init__

    def refuse(self, args, *rest, **how):
        if "povwatch.media.child" in args and os.path.exists({flag!r}):
            raise BlockingIOError(11, "Resource temporarily unavailable")
        start(self, args, *rest, **how)

    subprocess.Popen.__init__ = refuse
"""
"""As the kernel answers where TasksMax is reached; every Python reads it at its start."""


@pytest.fixture
def here(tmp_path):
    flag = tmp_path / "full"
    flag.touch()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(textwrap.dedent(REFUSES).format(flag=str(flag)))
    with Daemon(tmp_path / "pov") as daemon:
        daemon.env["PYTHONPATH"] = str(tmp_path / "site")
        daemon.flag = flag
        yield daemon


def test_no_process_makes_clips_wait(here):
    """A clip waits, charged nothing, while no process can be started, and is done later."""
    here.clip("a.mp4")
    here.start()
    job = here.wait_state("a.mp4", "arriving", waiting_on="paused")
    assert "temporarily unavailable" in job["detail"]
    assert "TasksMax" in job["detail"]
    here.flag.unlink()
    here.wait_for("done", clip="a.mp4")
    assert here.show("a.mp4")["attempts"] == 1
    assert not here.events("failed")


def test_once_says_what_the_machine_lacks(here):
    """--once ends with exit 3 if no process can be started, and says so."""
    here.clip("a.mp4")
    ended = here.once()
    assert ended.returncode == 3
    assert "temporarily unavailable" in ended.stderr
    assert not (here.inputs / "a.error.txt").exists()
    here.flag.unlink()
    assert here.once().returncode == 0
