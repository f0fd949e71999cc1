"""What the commands say at every stage, with a daemon and without one."""

from __future__ import annotations

import json
import re

import pytest
from support.daemons import toy
from support.terminal import on_a_terminal
from support.waiting import Waiting

KEYS = {
    *("id", "clip", "state", "waiting_on", "attempts", "spec_hash", "source_hash", "output", "error"),
    *("created_at", "updated_at", "progress"),
}


@pytest.fixture
def here(tmp_path):
    with Waiting(tmp_path / "pov") as daemon:
        yield daemon


def flat(text):
    return " ".join(text.split())


def test_what_commands_tell_on_the_way(here):
    """why, status, jobs, show and report are right in the grace, while a clip runs, and when it is done."""
    here.configure(grace={"period": "1h"}, engine={"kind": toy("waits")})
    here.start()
    here.clip("d/a.mp4")
    here.wait_for("grace")
    why = flat(here.call("why", "a.mp4").stdout)
    assert "clip ok d/a.mp4" in why
    assert "content ok" in why
    assert "JSON ok d/a.json can be run" in why
    # What is left is rounded to minutes where it is an hour: that is a matter of half a second.
    assert re.search(r"grace waits runs, about (1 h 00 min|5\d min \d\d s) left", why)
    status = here.call("status").stdout
    assert "1 grace" in status
    assert f"pid {here.pid}" in status

    assert here.call("go", "d/a.mp4").stdout == "d/a.mp4: it starts as soon as a worker is free.\n"
    here.until(lambda: here.runs)
    here.wait_for("progress")
    here.until(lambda: here.peek("d/a.mp4")["progress"])
    (job,) = here.jobs()
    assert job.keys() >= KEYS
    assert (job["state"], job["clip"], job["attempts"], job["error"]) == ("running", "d/a.mp4", 1, None)
    assert (job["progress"]["stage"], job["progress"]["fraction"]) == ("waiting", 0.25)
    assert "25 %" in here.call("status").stdout
    assert "progress ok 25 % (waiting)" in flat(here.call("why", "a").stdout)
    assert here.call("hold", "a").returncode == 1
    assert here.jobs(state="done") == []

    here.let_go()
    here.wait_for("done")
    assert "d/a/a_preview.mp4" in flat(here.call("why", "1").stdout)
    shown = here.show("a.mp4")
    assert [event["state"] for event in shown["events"] if event["was"] != event["state"]] == [
        *("arriving", "grace", "queued", "running", "checking", "publishing", "done")
    ]
    assert shown["spec"]["video_path"] == "a.mp4"
    assert shown["source"]["frames"] == 12
    text = here.call("show", "a.mp4").stdout
    assert "publishing -> done" in text
    assert json.dumps(shown["spec"], ensure_ascii=False) in text, "one line, so that it can be copied"
    here.stop()
    report = here.call("report").stdout
    assert "1 done, 0 not done" in report
    assert "No daemon is running." in here.call("status").stdout
    assert "not running" in here.call("why", "a.mp4").stdout


def test_request_without_a_daemon_is_kept(here):
    """A request that is made while no daemon runs is kept, and taken at the next start."""
    here.configure(grace={"period": "1h"}, engine={"kind": toy("waits")})
    here.let_go()
    here.start()
    here.clip()
    here.wait_for("grace")
    here.stop()
    asked = here.call("go", "a")
    assert asked.returncode == 0
    assert "the request is kept and taken at its start" in flat(asked.stdout)
    here.start()
    here.wait_for("done")
    said = here.events("request")[-1]
    assert "go a.mp4: it starts as soon as" in said["message"]
    assert (said["clip"], said["job"]) == ("a.mp4", 1)  # whatever was typed: the journal selects by them


def test_unknown_clip_without_a_daemon(here):
    """Without a daemon, an unknown clip gets the same answer and exit status as with one, and no request is left."""
    here.configure(grace={"period": "1h"})
    here.start()
    for clip in ("kitchen.mp4", "d/a.mp4", "e/a.mp4"):
        here.clip(clip)
        here.wait_for("grace", clip=clip)
    words = (("hold", "kichen"), ("go", "nothing.mp4"), ("retry", "9"), ("cancel", "a.mp4"))
    asked = [here.call(*each) for each in words]
    assert [done.returncode for done in asked] == [1, 1, 1, 1]
    assert "Did you mean kitchen.mp4?" in asked[0].stdout
    here.stop()
    again = [here.call(*each) for each in words]
    assert [(done.returncode, done.stdout) for done in again] == [(1, done.stdout) for done in asked]
    assert not list((here.state / "requests").glob("*.request"))
    here.clip("new.mp4")  # which no daemon has seen
    for each in (("hold", "new"), ("hold", str(here.inputs / "kitchen.mp4")), ("go", "#2")):
        assert here.call(*each).returncode == 0
    here.start()
    assert here.wait_for("held", start=2, clip="new.mp4")
    assert here.wait_for("held", start=2, clip="kitchen.mp4")
    assert here.wait_for("queued", start=2, clip="d/a.mp4")
    here.stop()


def test_unknown_things_are_told(here):
    """No journal, no such clip, and no such state each have an answer and an exit status."""
    for command in ("jobs", "status", "report"):
        done = here.call(command)
        assert done.returncode == 1
        assert "There is no journal" in done.stderr
    assert "no daemon ever ran here" in here.call("go", "a.mp4").stderr
    here.start()
    assert here.call("show", "nothing.mp4").returncode == 1
    assert here.call("go", "nothing.mp4").stdout.startswith("nothing.mp4: no clip here is called so.")
    assert "No clip here is called nothing.mp4" in here.call("why", "nothing.mp4").stderr
    assert here.call("jobs", "--state", "nowhere").returncode == 2


def test_cancel_and_retry_of_a_running_clip(here):
    """A running clip can be cancelled and retried; a done one takes retry --force."""
    here.start()
    here.clip()
    here.until(lambda: here.runs)
    assert here.call("cancel", "a.mp4").returncode == 0
    here.wait_for("cancelled")
    here.clip("b.mp4")
    here.let_go()
    here.wait_for("done", clip="b.mp4")
    assert here.call("retry", "a.mp4").returncode == 0
    here.wait_for("done", clip="a.mp4")
    assert here.call("retry", "a.mp4").returncode == 1
    assert "povwatch retry --force" in here.call("retry", "a.mp4").stdout
    here.call("retry", "--force", "a.mp4")
    here.wait_for("done", clip="a.mp4", count=2)
    assert len(here.runs) == 4
    here.stop()


def test_cancelled_while_it_is_checked(here):
    """A clip that is cancelled while it is checked publishes nothing."""
    here.let_go()
    here.start()
    here.clip("a.mkv", frames=250, size=(640, 360))
    here.wait_for("generated")
    answer = here.call("cancel", "a.mkv")
    if answer.returncode == 0:  # else it was quicker
        here.wait_for("cancelled")
        assert here.published() == []
    here.stop()


LONG = "kitchen/monday/a-quite-long-session-name/first person recording number 1.mp4"


def test_clip_path_is_never_broken(here):
    """A long path stays on one line in jobs and status, on a terminal and elsewhere."""
    here.start()
    here.clip(LONG)
    here.until(lambda: here.runs)
    here.wait_for("progress")
    for verb in ("jobs", "status"):
        (row,) = [line for line in here.call(verb).stdout.splitlines() if "25 %" in line and "running" in line]
        assert row.startswith(f"1    {LONG}  running  ")
        code, text = on_a_terminal(here, verb, until=rb"$.", columns=60)
        assert code == 0
        assert f"1    {LONG}  running" in text
    assert "\u2501" in text, "the bar"
    assert f"{LONG}: 25 % (waiting)" in here.call("status").stdout, "no bar where nobody looks"
    here.stop()


def test_status_watch_on_a_terminal(here):
    """status --watch shows the state again and again until it is ended."""
    here.start()
    here.clip()
    here.until(lambda: here.runs)
    here.wait_for("progress")
    code, text = on_a_terminal(here, "status", "--watch", until=rb"25 %(?s:.)*25 %")
    assert code == 0
    assert "waiting" in text
    assert "Traceback" not in text
    here.stop()


def test_log_on_a_terminal(here):
    """On a terminal the log is times and sentences, no JSON, and escapes control characters."""
    here.let_go()
    here.clip("a\n\x1b[31mred.mp4")
    code, text = on_a_terminal(here, "run", until=rb": done in")
    assert code == 0
    lines = text.replace("\r", "").splitlines()
    (done,) = [line for line in lines if ": done in" in line]
    assert re.search(r"\d\d:\d\d:\d\d", done)
    assert r"a\n\x1b[31mred.mp4: done in" in done
    assert "{" not in done
    assert "\x1b[31mred" not in text
    assert any("stopping: SIGINT" in line for line in lines)
