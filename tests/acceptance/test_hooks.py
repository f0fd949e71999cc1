"""Hooks, with a real daemon and real programs: before and after, beside the engine, and whatever they do wrong."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import pytest
from support.clips import make_clip
from support.daemons import ENGINES, Daemon
from support.programs import more
from support.waiting import Waiting, left_over, newest, sound

from povwatch.core.job import JobState
from povwatch.journal import open_reader
from povwatch.media.source import opened

ROOT = Path(__file__).parents[2]

WAITS = 'echo "$1" >>runs.$0; [ "$0" = quick ] || { echo "$1 waits"; while [ ! -e let.$1 ]; do sleep 0.05; done; }'
"""`sh -c WAITS NAME STEM`: notes that it runs; all but `quick` wait for a file let.STEM."""


def waits(name, when="before", **settings):
    return {"name": name, "when": when, "argv": ["sh", "-c", WAITS, name, "{stem}"]} | settings


def runs(here, name):
    """The stems that a hook was started for, in order."""
    return (here.folder / f"runs.{name}").read_text().split()


def hooks_of(here, job):
    with open_reader(here.state) as reader:
        return {name: (str(run.state), run.attempts, run.crashes) for name, run in reader.hooks(job).items()}


def test_each_fault_of_a_hook(tmp_path):
    """Whatever a hook does wrong has a line in the log and costs only its own clip."""
    acts_py, inputs = str(ENGINES.parent / "hooks/acts.py"), str(tmp_path / "pov/inputs")
    argv = [sys.executable, "-S", acts_py, "{stem}", "{video}", "{outdir}", inputs]
    acts = {"name": "acts", "when": "before", "argv": argv, "expects": ["{outdir}/result.json"], "timeout": "3s"}
    tell = {"name": "tell", "when": "after", "argv": ["sh", "-c", '[ "$1" != writes ]', "sh", "{stem}"]}
    last = {"name": "last", "when": "after", "argv": ["cp", "{output}", "last.mp4"]}
    engine = {"attempts": 1}
    with Daemon(tmp_path / "pov", hooks=[acts, tell, last], engine=engine, grace={"period": "500ms"}) as here:
        for stem in ("fails", "nothing", "broken", "leaves", "writes", "hangs"):
            here.clip(f"{stem}.mp4")
        original = (here.inputs / "writes.mp4").read_bytes()
        here.start()
        for stem in ("fails", "nothing", "broken", "leaves", "hangs"):
            here.wait_for("failed", clip=f"{stem}.mp4")
        problems = {line["clip"]: line["problem"] for line in here.events("failed")}
        assert problems["fails.mp4"].startswith(
            "The hook acts failed: It exited with status 3. Fix what it complains of"
        )
        assert 'Its last words: "no weights"' in problems["fails.mp4"]
        assert "The hook acts failed: It ended well, but result.json is not there. Have it" in problems["nothing.mp4"]
        assert "result.json is no JSON" in problems["broken.mp4"]
        assert "It took longer than 3.0 s and was ended. If it needs more, raise its timeout" in problems["hangs.mp4"]
        assert 'Its last words: "waiting for ever"' in problems["hangs.mp4"]
        assert "result.json is not there. It left 1 process (python" in problems["leaves.mp4"]
        left = here.wait_for("hook-left", clip="leaves.mp4")
        assert left["message"].endswith("which were ended too. Have it wait for what it starts")
        assert not Path(f"/proc/{(here.outputs / 'leaves/pid').read_text()}").exists()
        said = here.wait_for("hook-output", clip="fails.mp4", line="I am fails\\x1b[31m\\u202e")
        assert (said["hook"], said["message"]) == ("acts", f"fails.mp4: acts: {said['line']}")
        assert said["job"] == here.peek("fails.mp4")["id"]
        assert "povwatch retry fails.mp4" in (here.inputs / "fails.error.txt").read_text()
        # It wrote into inputs/: said, the clip is whole, and the edit is run.
        here.wait_for("hook-copy", clip="writes.mp4")
        wrote = here.wait_for("hook-inputs", clip="writes.mp4")
        assert "ran, this happened in inputs/: writes.json changed, writes_overlay.txt appeared. If" in wrote["message"]
        assert "have it write to {outdir} instead" in wrote["message"]
        here.wait_for("done", clip="writes.mp4")
        assert (here.inputs / "writes.mp4").read_bytes() == original
        assert json.loads((here.outputs / "writes/writes_preview.json").read_text())["seed"] == 7
        job = here.peek("writes.mp4")
        assert (job["state"], job["output"]) == ("done", "writes/writes_preview.mp4")
        assert job["error"].startswith("The hook tell failed: It exited with status 1.")
        assert not (here.folder / "last.mp4").exists(), "the hooks behind one that is to stop do not run"
        assert here.stop() == 0
        done = here.once()
        assert (done.returncode, "done, writes/writes_preview.mp4. The hook tell failed" in done.stderr) == (1, True)
        assert list((here.outputs / ".povwatch").iterdir()) == []


def test_hooks_run_beside_the_engine(tmp_path):
    """The engine has another clip while a hook runs, and a hook that is over does not run again."""
    hooks = [
        waits("quick"),
        waits("slow"),
        waits("last", "after", argv=["sh", "-c", "echo $1 >>runs.last", "sh", "{output}"]),
    ]
    with Waiting(tmp_path / "pov", hooks=hooks) as here:
        (here.folder / "let.b").touch()
        here.start()
        here.clip("b.mp4")
        here.until(lambda: here.runs)
        here.clip("a.mp4")
        here.wait_for("hook-output", line="a waits")
        waiting = here.wait_state("a.mp4", "queued", waiting_on="hook")
        assert (waiting["detail"], waiting["attempts"]) == ("The hook slow runs.", 0)
        assert newest(here, b"b.mp4").state is JobState.RUNNING, "it runs while the other's hook does"
        here.let_go()
        here.wait_for("done", clip="b.mp4")
        assert newest(here).state is JobState.QUEUED
        assert runs(here, "last") == [str(here.outputs / "b/b_preview.mp4")]
        here.kill()
        assert left_over(here.folder) == []
        here.start()
        here.wait_for("hook-orphaned", clip="a.mp4")
        here.wait_for("hook-output", line="a waits", start=2)
        assert hooks_of(here, 2) == {"quick": ("done", 1, 0), "slow": ("running", 1, 1)}
        begun = time.monotonic()
        assert here.stop() == 0
        assert time.monotonic() - begun < 10
        assert left_over(here.folder) == []
        assert hooks_of(here, 2) == {"quick": ("done", 1, 0), "slow": ("waiting", 0, 1)}
        (here.folder / "let.a").touch()
        here.start()
        here.wait_for("done", clip="a.mp4")
        assert (runs(here, "quick"), runs(here, "slow")) == (["b", "a"], ["b", "a", "a", "a"])
        assert here.runs == [1, 2]
        assert (newest(here).attempts, newest(here).crashes) == (1, 0)
        here.stop()
        sound(here)


@more
def test_killed_in_a_hook_after_the_clip(tmp_path):
    """After kill -9 in a hook after the clip, it stays published once and only that hook runs again."""
    with Daemon(tmp_path / "pov", hooks=[waits("quick", "after"), waits("slow", "after")]) as here:
        here.start()
        here.clip()
        here.wait_for("hook-output", line="a waits")
        assert here.published() == ["a/a_preview.json", "a/a_preview.mp4"]
        here.wait_state("a.mp4", "publishing", waiting_on="hook")
        assert here.ask("cancel", "a.mp4").text == "it is published already; only its hooks still run."
        here.kill()
        (here.folder / "let.a").touch()
        here.start()
        here.wait_for("done")
        assert (runs(here, "quick"), runs(here, "slow")) == (["a"], ["a", "a"])
        assert here.published() == ["a/a_preview.json", "a/a_preview.mp4"]
        assert len(here.events("started")) == 1
        here.stop()
        sound(here)


@more
def test_killed_in_a_hook_and_journal_lost(tmp_path):
    """After a rebuild the hooks after the clip run again; the clip does not."""
    with Daemon(tmp_path / "pov", hooks=[waits("quick", "after"), waits("slow", "after")]) as here:
        here.start()
        here.clip()
        here.wait_for("hook-output", line="a waits")
        here.kill()
        shutil.rmtree(here.state)
        (here.folder / "let.a").touch()
        rebuilt = here.call("rebuild")
        assert "Made again: 1 to be published." in rebuilt.stdout.splitlines()
        here.start()
        here.wait_for("done")
        assert (runs(here, "quick"), runs(here, "slow")) == (["a", "a"], ["a", "a"])
        assert here.published() == ["a/a_preview.json", "a/a_preview.mp4"]
        assert len(here.events("started")) == 1
        here.stop()
        sound(here)


@more
def test_killed_in_a_hook_then_cancelled(tmp_path):
    """Its clip was never claimed, and still there are copies of it."""
    script = 'echo "$1 waits"; while [ ! -e let ]; do sleep 0.05; done'
    argv = ["sh", "-c", script, "sh", "{stem}", "{video}", "{spec}"]
    with Daemon(tmp_path / "pov", hooks=[{"name": "reads", "when": "before", "argv": argv}]) as here:
        here.start()
        here.clip()
        here.wait_for("hook-output", line="a waits")
        assert here.call("pause").returncode == 0
        assert sorted(file.name for file in here.outputs.glob(".povwatch/1/hooks/*")) == ["a.json", "a.mp4"]
        here.kill()
        here.start()
        here.wait_for("hook-orphaned")
        assert here.call("cancel", "a.mp4").returncode == 0
        assert list(here.outputs.glob(".povwatch/*")) == []
        here.stop()
        sound(here)


@more
def test_pause_and_hooks(tmp_path):
    """A pause lets the hooks after a running clip run, and starts none before another clip."""
    with Waiting(tmp_path / "pov", hooks=[waits("quick"), waits("quick-after", "after")]) as here:
        (here.folder / "let.a").touch()
        here.start()
        here.clip()
        here.until(lambda: here.runs)
        assert here.call("pause").returncode == 0
        here.let_go()
        here.clip("b.mp4")
        here.wait_for("done", clip="a.mp4")
        here.wait_state("b.mp4", "queued", waiting_on="paused")
        assert (runs(here, "quick"), runs(here, "quick-after")) == (["a"], ["a"])
        assert here.call("resume").returncode == 0
        here.wait_for("hook-output", line="b waits")
        assert here.stop() == 0


@more
def test_edit_ends_a_hook_with_the_json(tmp_path):
    """An edit ends a hook that names the JSON; the end of its clip ends any hook."""
    script = 'echo "$1 waits"; while [ ! -e let ]; do sleep 0.05; done; cp "$2" "$3/spec.txt"'
    argv = ["sh", "-c", script, "sh", "{stem}", "{spec}", "{outdir}"]
    with Daemon(tmp_path / "pov", hooks=[{"name": "reads", "when": "before", "argv": argv}]) as here:
        here.start()
        here.clip("gone.mp4")
        here.wait_for("hook-output", line="gone waits")
        here.clip()
        here.wait_state("a.mp4", "queued", waiting_on="hook")
        assert here.peek("a.mp4")["detail"] == "The hook reads runs for another clip first."
        (here.inputs / "gone.mp4").unlink()
        here.wait_for("hook-off", clip="gone.mp4", why="the clip is cancelled")
        here.wait_for("hook-output", line="a waits")
        spec = here.inputs / "a.json"
        spec.write_text(spec.read_text().replace('"seed": 0', '"seed": 7'))
        here.wait_for("hook-off", clip="a.mp4", why="the clip went back to its grace")
        (here.folder / "let").touch()
        here.wait_for("done", clip="a.mp4")
        given = json.loads((here.outputs / "a/spec.txt").read_text())
        assert (given["seed"], given["video_path"]) == (7, "a.mp4")
        assert hooks_of(here, 2) == {"reads": ("done", 1, 0)}
        here.stop()
        sound(here)


@more
def test_missing_hook_program_is_waited_for(tmp_path):
    """A hook's program that is not there makes clips wait, but --once ends and says so."""
    hook = {"name": "mano", "when": "before", "argv": ["mano_est/run", "{video}"]}
    with Daemon(tmp_path / "pov", hooks=[hook]) as here:
        here.clip()
        done = here.once()
        assert done.returncode == 1
        assert "a.mp4: queued, waits on hook: The hook mano cannot be started: mano_est/run cannot be" in done.stderr
        assert "Is the path in `argv` right? A relative one is relative to config.toml." in done.stderr
        assert (here.peek("a.mp4")["attempts"], hooks_of(here, 1)) == (0, {"mano": ("waiting", 0, 0)})
        (here.folder / "mano_est").mkdir()
        (here.folder / "mano_est/run").symlink_to(shutil.which("true"))
        assert here.once().returncode == 0


FOUR = ["1_mano_overlay.mp4", "2_skeleton_overlay.mp4", "3_mano_no_overlay.mp4", "4_skeleton_no_overlay.mp4"]


def frames(file):
    """Size and time of each frame, as a player shows them."""
    with opened(str(file), "mp4") as source:
        sizes = [(frame.width, frame.height) for frame in source.frames()]
        return sizes, [tick * source.base for tick in source.times()]


@pytest.fixture
def mano(tmp_path):
    hook = {
        "name": "mano",
        "when": "before",
        "argv": [sys.executable, str(ROOT / "examples/mano/stand_in.py"), "{video}", "--out", "{outdir}"],
        "expects": [f"{{outdir}}/{name}" for name in FOUR],
        "once": True,
    }
    with Daemon(tmp_path / "pov", hooks=[hook]) as here:
        yield here


def filled_before(here, stem):
    """Fill a folder of outputs/ with the files of a.mp4, if it is not there; when each was last changed."""
    if not (here.outputs / stem).exists():
        (here.outputs / stem).mkdir()
        for name in FOUR:
            shutil.copy(here.outputs / "a" / name, here.outputs / stem / name)
    return {name: (here.outputs / stem / name).stat().st_mtime_ns for name in FOUR}


def test_mano_then_cosmos_in_one_folder(mano):
    """The hook's files stand beside the result, frame-exact; a folder that was filled before is respected."""
    mano.start()
    clip = mano.clip(frames=7, size=(97, 65), pix_fmt="yuv444p", times=[0, 3, 4, 9, 12, 15, 18], time_base=None)
    mano.wait_for("done")
    assert mano.published() == [f"a/{name}" for name in [*FOUR, "a_preview.json", "a_preview.mp4"]]
    for name in FOUR:
        assert frames(mano.outputs / "a" / name) == frames(clip), name
    assert "stand-in" in mano.events("hook-output")[0]["line"]
    # A folder that was filled before its clip came is respected.
    before = filled_before(mano, "b")
    mano.clip("b.mp4")
    skipped = mano.wait_for("hook-skipped", clip="b.mp4")
    assert "hook mano is not run: all that it expects is there already" in skipped["message"]
    assert "(but 1_mano_overlay.mp4 has 7 frames and the clip 12:" in skipped["message"]
    mano.wait_for("done", clip="b.mp4")
    assert filled_before(mano, "b") == before
    mano.stop()
    sound(mano)


@more
def test_edit_does_not_run_mano_again(mano):
    """An edit does not run the hook a second time. Another video does, and no foreign file is replaced."""
    make_clip(mano.folder / "made.mp4", frames=7)
    (mano.outputs / "a").mkdir(parents=True)
    for name in FOUR:
        shutil.copy(mano.folder / "made.mp4", mano.outputs / "a" / name)
    mano.start()
    mano.clip(frames=7)
    mano.wait_for("done")
    spec = mano.inputs / "a.json"
    spec.write_text(spec.read_text().replace('"seed": 0', '"seed": 7'))
    again = mano.wait_for("hook-skipped", count=2)
    assert again["message"].endswith("it has run for this video, and all that it expects is there")
    mano.wait_for("done", count=2)
    # What is there was made for the first video of that name. The stand-in replaces no file but its own.
    make_clip(mano.folder / "new.mp4", frames=5).rename(mano.inputs / "a.mp4")
    failed = mano.wait_for("hook-retry")
    assert "there already, and not from a stand-in. Nothing is touched" in failed["problem"]
    for name in FOUR:
        (mano.outputs / "a" / name).unlink()
    mano.wait_for("hook-done")
    mano.wait_for("done", count=3)
    assert len(frames(mano.outputs / "a" / FOUR[0])[0]) == 5
    assert "a/a_preview_v3.mp4" in mano.published()
    mano.stop()
    sound(mano)
