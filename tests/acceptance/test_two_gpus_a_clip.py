"""Two processes compute each step of a clip together, through the whole daemon: `engine.gpus_per_worker` on CPUs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from support import tiny_needs
from support.tiny_daemon import FRAMES, HELD, LONG, Tiny

tiny_needs.skip_without()

pytestmark = pytest.mark.timeout(300)

PASSED_ON = "NCCL_NVLS_ENABLE"
"""A variable of NCCL's, which some machines need."""


def test_two_ranks_and_one_that_dies(tiny, tmp_path) -> None:
    """Two ranks make a clip. One that dies in the next clip ends the other too, and costs that clip one attempt."""
    folder = tmp_path / "pov"
    with Tiny(folder, tiny, gpus_per_worker=2, meeting=str(folder / "ranks" / "0")) as here:
        here.env[PASSED_ON] = "0"
        here.ask_for("whole.mp4")
        here.start("--verbose")
        manifest = here.done("whole.mp4")
        assert manifest["engine"]["gpus"] == 2
        assert manifest["generated"]["chunks"] == 3
        assert here.pictures("whole.mp4").shape[0] == FRAMES
        leader = here.worker
        (other,) = children(leader)
        # A rank is given rank 0's environment. That of rank 0 is not shown there if it was forked.
        assert f"{PASSED_ON}=0".encode() in Path(f"/proc/{other}/environ").read_bytes().split(b"\0")
        here.hold()
        here.ask_for("again.mp4")
        job = here.held("again.mp4")
        os.kill(other, signal.SIGKILL)
        lost = here.wait_for("worker-lost")
        assert "Rank 1 is gone (was killed by SIGKILL" in str(lost)
        assert here.steps(job)[-1] == HELD
        here.until(lambda: not Path(f"/proc/{leader}").exists(), "rank 0 is gone", LONG)
        retry = here.wait_for("retry", clip="again.mp4")
        assert (here.peek("again.mp4")["attempts"], here.peek("again.mp4")["crashes"]) == (1, 0), retry
        here.let_go()


def children(pid: int) -> list[int]:
    """The processes that a process has started, and that live."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
