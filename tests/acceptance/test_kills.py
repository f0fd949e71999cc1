"""kill -9 of the daemon or the worker in any state, then a new start: every clip is published once."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import time

import pytest
from support.daemons import Daemon, toy
from support.waiting import Waiting, left_over, newest, sound

from povwatch.core.job import JobState

PAIR = ["a/a_preview.json", "a/a_preview.mp4"]


@pytest.fixture
def here(tmp_path):
    with Waiting(tmp_path / "pov") as daemon:
        yield daemon


def test_killed_while_a_clip_arrives(here):
    """A clip that was arriving at a kill is seen once, and comes out once."""
    here.configure(arrival={"settle": "1h"}, engine={"kind": toy("waits")})
    here.start()
    here.clip()
    here.wait_for("seen")
    here.kill()
    here.configure(engine={"kind": toy("waits")})
    here.let_go()
    here.start()
    assert here.wait_for("done")["job"] == 1
    here.stop()
    assert here.published() == PAIR
    assert len(here.events("seen")) == 1
    sound(here)


def test_killed_in_the_grace(here):
    """A clip that was in its grace at a kill is in it again, and comes out once."""
    here.configure(grace={"period": "1h"}, engine={"kind": toy("waits")})
    here.let_go()
    here.start()
    here.clip()
    here.wait_for("grace")
    here.kill()
    here.start()
    here.wait_for("grace", count=2)
    assert here.published() == []
    assert here.call("go", "a.mp4").returncode == 0
    here.wait_for("done")
    here.stop()
    assert here.published() == PAIR
    sound(here)


def test_killed_while_a_clip_is_queued(here):
    """A clip that was queued at a kill is charged nothing for it, and comes out once."""
    (here.folder / "TOY_LOAD").unlink()
    here.start()
    here.clip()
    here.wait_for("queued")
    here.kill()
    here.let_load()
    here.let_go()
    here.start()
    done = here.wait_for("done")
    here.stop()
    assert here.published() == PAIR
    assert (here.peek("a.mp4")["crashes"], here.peek("a.mp4")["attempts"]) == (0, 1)
    assert done["job"] == 1
    sound(here)


def test_killed_while_preparing(here):
    """A kill while the working copy is made counts as a crash, and the clip comes out once."""
    here.leave_unscored()
    here.start()
    here.clip("a.mkv", frames=200, size=(640, 360))
    here.wait_for("started")
    here.kill()
    assert newest(here, b"a.mkv").state is JobState.RUNNING
    here.let_go()
    here.start()
    here.wait_for("done")
    here.stop()
    assert here.published() == PAIR
    assert here.peek("a.mkv")["crashes"] == 1
    sound(here)


def test_killed_while_it_generates(here):
    """The attempt counts as a crash, another one follows, and status says so meanwhile."""
    here.start()
    here.clip()
    here.until(lambda: here.runs)
    here.until(lambda: here.peek("a.mp4")["progress"])
    here.kill()
    assert left_over(here.folder) == []
    for verb in ("status", "jobs", "why"):
        said = " ".join(here.call(verb, *(["a.mp4"] if verb == "why" else [])).stdout.split())
        assert "under way when povwatch ended; it goes on at the next start" in said
        assert "left" not in said
        assert "25 %" not in said
    here.let_go()
    here.start()
    orphaned = here.wait_for("orphaned")
    assert "was running when povwatch ended; it runs again" in orphaned["message"]
    here.wait_for("done")
    here.stop()
    assert here.published() == PAIR
    assert here.runs == [1, 1]
    job = here.peek("a.mp4")
    assert (job["attempts"], job["crashes"]) == (1, 1)
    sound(here)


def test_killed_while_checking(here):
    """A kill while the result is checked generates nothing again."""
    here.leave_unscored()
    here.let_go()
    here.start()
    here.clip(frames=250, size=(640, 360))
    here.wait_for("generated")
    here.kill()
    assert newest(here).state is JobState.CHECKING
    assert here.published() == []
    here.start()
    here.wait_for("done")
    here.stop()
    assert here.published() == PAIR
    assert here.runs == [1]
    sound(here)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts something, which takes root")
def test_killed_while_publishing(here):
    """A mount appears over the target while the clip runs: its promise is given, and cannot be kept."""
    target = here.outputs / "a"
    here.start()
    here.clip()
    here.until(lambda: here.runs)
    target.mkdir()
    subprocess.run(["mount", "--bind", target, target], check=True)
    try:
        here.let_go()
        paused = here.wait_for("publish-later")
        assert "another disk" in paused["message"]
        here.kill()
        assert newest(here).state is JobState.PUBLISHING
        done = here.once()
        assert done.returncode == 1, done.stderr
        assert "publishing, waits on paused" in done.stderr
    finally:
        subprocess.run(["umount", target], check=True)
    here.start()
    here.wait_for("done")
    here.stop()
    assert here.published() == PAIR
    assert here.runs == [1]
    sound(here)


def test_third_crash_gives_a_clip_up(here):
    """A clip that runs at three crashes of the daemon fails."""
    here.start()
    here.clip()
    for crash in (1, 2, 3):
        here.until(lambda n=crash: len(here.runs) == n)
        here.kill()
        here.start()
    failed = here.wait_for("failed")
    assert "went down 3 times while this job ran" in failed["message"]
    here.stop()
    assert "went down 3 times" in (here.inputs / "a.error.txt").read_text()
    assert here.published() == []
    sound(here)


def test_killed_again_and_again(tmp_path):
    """Every clip comes out exactly once; only one that was running at three crashes may be given up."""
    seed = random.randrange(1 << 30)  # noqa: S311 - any moment will do
    moments = random.Random(seed)  # noqa: S311
    clips = [b"a.mp4", b"b.mp4", b"c.mp4"]
    with Daemon(tmp_path / "pov", engine={"kind": toy("slow")}, grace={"period": "100ms"}) as here:
        for clip in clips:
            here.clip(clip.decode())
        for _ in range(6):
            here.start(watching=False)
            time.sleep(moments.uniform(0.3, 2.2))
            here.kill()
        here.start()
        ends = here.until(lambda: [job for clip in clips if (job := newest(here, clip)) and job.ended] or None, seed)
        here.until(lambda: all((job := newest(here, clip)) and job.ended for clip in clips), f"seed {seed}")
        ends = [newest(here, clip) for clip in clips]
        assert here.stop() == 0
        for job in ends:
            assert job.state is JobState.DONE or (job.state is JobState.FAILED and job.crashes >= 3), (seed, job)
        done = [job.path.decode()[0] for job in ends if job.state is JobState.DONE]
        assert here.published() == sorted(f"{n}/{n}_preview.{end}" for n in done for end in ("json", "mp4")), seed
        here.start()  # whatever a crash left behind is swept
        here.stop()
        sound(here)


def test_killed_three_times_while_checking(here):
    """The third crash in checking fails the job and says so; a retry does not generate again."""
    here.leave_unscored()
    here.let_go()
    here.start()
    here.clip(frames=250, size=(640, 360))
    here.wait_for("generated")
    here.kill()
    with sqlite3.connect(here.state / "journal.sqlite3") as db:  # two more like this, before that
        db.execute("UPDATE jobs SET crashes = 2")
    db.close()
    here.start()
    assert "3 times" in here.wait_for("failed")["problem"]
    assert (newest(here).state, newest(here).crashes) == (JobState.FAILED, 3)
    sound(here)
    here.ask("retry", "a.mp4")
    here.wait_for("done")
    here.stop()
    assert here.published() == PAIR
    assert here.runs == [1]
    sound(here)


def test_killed_worker_costs_one_attempt(here):
    here.start("--verbose")
    here.clip()
    here.until(lambda: here.runs)
    os.kill(here.events("worker-started")[-1]["pid"], signal.SIGKILL)
    lost = here.wait_for("worker-lost")
    assert "killed by SIGKILL" in lost["message"]
    retry = here.wait_for("retry")
    assert "attempt 1 failed" in retry["message"]
    assert newest(here).attempts == 1
    here.let_go()
    here.wait_for("done")
    here.stop()
    assert here.published() == PAIR
    assert (here.peek("a.mp4")["attempts"], here.peek("a.mp4")["crashes"]) == (2, 0)
    sound(here)


def test_worker_killed_as_it_loads(here):
    """A worker that is killed as it loads is replaced and costs no attempt."""
    (here.folder / "TOY_LOAD").unlink()
    here.let_go()
    here.start("--verbose")
    here.clip()
    here.wait_for("queued")
    here.wait_for("engine-load-progress", stage="waiting, 50 %")
    os.kill(here.events("worker-started")[-1]["pid"], signal.SIGKILL)
    unavailable = here.wait_for("engine-unavailable")
    assert "killed by SIGKILL" in unavailable["message"]
    here.until(lambda: newest(here).waiting_on == "engine-unavailable")
    here.let_load()
    here.wait_for("done")
    here.stop()
    assert here.peek("a.mp4")["attempts"] == 1
    sound(here)
