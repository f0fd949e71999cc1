"""run --once as people use it for a night's clips: some or all of them, a report at the end, Ctrl-C in between."""

from __future__ import annotations

import csv
import json
import signal

import pytest
from support.daemons import toy
from support.terminal import on_a_terminal
from support.waiting import Waiting, left_over, sound

from povwatch.core.job import JobState


@pytest.fixture
def here(tmp_path):
    with Waiting(tmp_path / "pov", grace={"period": "0s"}) as daemon:
        yield daemon


def test_named_clips_run_and_others_stay(here):
    """--once with names runs these alone, reports in all forms, and a second --once runs the rest."""
    here.let_go()
    here.clip("a.mp4")
    here.clip("d/b.mp4")
    bad = here.inputs / "d" / "<b>=bad.mp4"
    bad.write_text("no video")
    here.clip("c.mp4")
    files = [here.folder / f"r.{form}" for form in ("html", "md", "json", "csv")]
    options = [word for file in files for word in ("--report", str(file))]

    done = here.once("a.mp4", "d/b", str(bad), *options)
    assert done.returncode == 1
    assert sorted(here.published()) == [
        *("a/a_preview.json", "a/a_preview.mp4"),
        *("d/b/b_preview.json", "d/b/b_preview.mp4"),
    ]
    assert not (here.inputs / "c.json").exists()
    assert here.peek("c.mp4") is None
    assert "1 left as they are, not started, as they were not named: c.mp4" in done.stderr
    assert "Left as they are, not started: c.mp4." in done.stdout
    assert "2 done, 1 not done" in done.stdout
    html, markdown, found, rows = (file.read_text() for file in files)
    assert "2 of 3 clips came out, 1 did not." in html
    assert "&lt;b&gt;=bad.mp4" in html
    assert "<b>=bad" not in html
    assert "c.mp4" in markdown
    clips = json.loads(found)["clips"]
    states = {clip["clip"]: clip["state"] for clip in clips}
    assert states == {"a.mp4": "done", "d/b.mp4": "done", "d/<b>=bad.mp4": "rejected"}
    (a,) = [clip for clip in clips if clip["clip"] == "a.mp4"]
    assert a["seconds"].keys() == {"prepare", "sound", "generate", "finish", "check", "score", "publish"}
    assert (a["source"]["frames"], a["result"]["frames"], a["gpu_seconds"]) == (12, 12, None)
    assert {row["clip"] for row in csv.DictReader(rows.splitlines())} == {"a.mp4", "d/b.mp4", "d/<b>=bad.mp4"}

    # The rest, by itself; what was done before is counted and not told again.
    bad.unlink()
    done = here.once()
    assert done.returncode == 0
    assert "c/c_preview.mp4" in done.stdout
    assert "1 done, 0 not done, 2 were done before" in done.stdout
    assert len(here.runs) == 3
    sound(here)

    told = here.call("report", "--since", "1d", "-o", str(here.folder / "later.json"))
    assert told.returncode == 0
    states = [clip["state"] for clip in json.loads((here.folder / "later.json").read_text())["clips"]]
    assert sorted(states) == ["done", "done", "done", "rejected"]
    assert here.call("report", "--since", "yesterday").returncode == 2


def test_others_under_way_are_left_alone(here):
    """Of a daemon that was killed: one clip runs, one waits its turn, one is in its grace."""
    here.configure(grace={"period": "1h"}, engine={"kind": toy("waits")})
    here.start()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        here.clip(name)
        here.wait_for("grace", clip=name)
    here.ask("go", "a.mp4")
    here.until(lambda: here.runs)
    here.ask("go", "b.mp4")
    here.wait_state("b.mp4", "queued")
    here.kill()
    here.let_go()
    here.clip("d.mp4")
    done = here.once("d", "--grace", "0s")
    assert done.returncode == 0, done.stderr
    assert [here.peek(f"{name}.mp4")["state"] for name in "abcd"] == ["queued", "queued", "grace", "done"]
    assert here.peek("c.mp4")["waiting_on"] == "grace"
    assert "Left as they are, not started: a.mp4, b.mp4, c.mp4." in done.stdout
    assert here.once("a", "b").returncode == 0
    assert here.peek("c.mp4")["state"] == "grace"
    sound(here)


def test_usage_errors_come_before_the_work(here):
    """A clip that is not there, or a report that cannot be written, is exit 2 before anything is touched."""
    here.clip("a.mp4")
    here.clip("d/a.mp4")
    for words, said in (
        (["nothing.mp4"], "There is no clip nothing.mp4 in "),
        (["a.mp4", "b.mp4"], "There is no clip b.mp4 in "),
        (["--report", "nowhere/r.html"], "--report nowhere/r.html cannot be written: No such file"),
        (["--report", "r.pdf"], "--report r.pdf: what form is that?"),
        (["--report", "."], "--report .: what form is that?"),
    ):
        done = here.once(*words)
        assert done.returncode == 2, words
        assert said in done.stderr
    for words in (["a.mp4"], ["--report", "r.html"]):
        assert here.call("run", *words).returncode == 2  # a daemon has no end
    assert not here.state.exists()
    assert list(here.inputs.rglob("*.json")) == []
    assert here.call("report", "-o", "nowhere/r.html").returncode == 2


def test_ctrl_c_once_and_twice(here):
    """Ctrl-C hands the running clip back, a second one kills; nothing is charged, and the next start goes on."""
    here.configure(grace={"period": "0s"}, engine={"kind": toy("hangs")})
    here.clip()
    here.start("--once").wait_for("started")
    here.wait_state("a.mp4", "running")
    here.until(lambda: here.events("prepared"))
    here.process.send_signal(signal.SIGINT)
    said = here.wait_for("daemon-stopping")
    assert "Ctrl-C once more ends it at once" in said["message"]
    here.process.send_signal(signal.SIGINT)
    assert here.ended() == -signal.SIGINT
    assert left_over(here.folder) == []

    here.configure(grace={"period": "0s"}, engine={"kind": toy("waits")})
    here.start("--once").until(lambda: here.runs)
    assert here.stop(signal.SIGINT) == 1
    assert here.wait_for("released", clip="a.mp4")["problem"].startswith("povwatch stops (SIGINT)")
    job = here.peek("a.mp4")
    assert (job["state"], job["attempts"]) == (JobState.QUEUED, 0)
    here.let_go()
    done = here.once()
    assert done.returncode == 0
    assert "1 done, 0 not done" in done.stdout
    sound(here)


def test_progress_on_a_terminal(here):
    """On a terminal --once shows progress below the log, and leaves the cursor visible."""
    here.clip("a\n\x1b[31mred.mp4")
    code, text = on_a_terminal(here, "run", "--once", until=rb"25%(?s:.)*generating")
    assert code == 1
    assert "0 of 1 clips" in text
    assert "waiting" in text  # the engine's own word for its stage
    assert text.count(r"a\n\x1b[31mred.mp4: started, attempt 1 of 3") == 1
    assert "\x1b[31mred" not in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is back
    assert "It was ended before all was done; started again it goes on." in text.rpartition("\x1b[?25h")[2]
