"""povwatch logs, of a daemon whose log goes to a file or to systemd's journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.daemons import Daemon, toy


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A daemon's folder with two clips that are done; it has ended."""
    with Daemon(tmp_path_factory.mktemp("logs") / "pov") as made:
        made.clip("kitchen/a.mp4")
        made.clip("b.mp4")
        made.start()
        made.wait_for("done", count=2)
        made.stop()
        yield made


def test_lines_of_one_clip(here):
    """Only its lines, in order, for people; by any word that names the clip."""
    for word in ("a", "kitchen/a.mp4", "#1" if here.peek("kitchen/a.mp4")["id"] == 1 else "#2"):
        said = here.call("logs", word).stdout.splitlines()
        assert all(" kitchen/a.mp4: " in line for line in said)
        assert " kitchen/a.mp4: seen" in said[0]
        assert " kitchen/a.mp4: done in " in said[-1]
        assert not any(line.startswith("{") for line in said)


def test_all_lines_with_foreign_ones(here):
    """Without a clip it is the whole log; what a library printed is in it, made harmless."""
    with (here.folder / "log.1").open("a") as log:
        log.write('Traceback \x1b[31m(most recent call last):\n{"message": 1}\n')
    said = here.call("logs").stdout.splitlines()
    assert len(said) == len(here.text().splitlines())
    assert said[-2:] == ["Traceback \\x1b[31m(most recent call last):", '{"message": 1}']
    assert any("povwatch" in line and " watches " in line for line in said)


def test_look_has_its_own_lines(here):
    """`clip@look` has the look's lines, `clip` those of all looks, `clip@` the clip's own."""
    with (here.folder / "log.1").open("a") as log:
        line = {"timestamp": "2026-11-30T18:00:00Z", "clip": "b.mp4@night", "look": "night", "message": "of the night"}
        log.write(json.dumps(line) + "\n")
    assert "of the night" in here.call("logs", "b").stdout
    assert "of the night" not in here.call("logs", "b@").stdout
    assert "b.mp4: done" in here.call("logs", "b@").stdout
    unknown = here.call("logs", "b@rain")
    assert (unknown.returncode, 'b.mp4 has no look "rain"' in unknown.stderr) == (1, True)


def test_unknown_clip_and_missing_file(here):
    unknown = here.call("logs", "kitchn/a.mp4")
    assert (unknown.returncode, "Did you mean kitchen/a.mp4?" in unknown.stderr) == (1, True)
    log = here.folder / "log.1"
    log.rename(here.folder / "moved")
    missing = here.call("logs", "a")
    (here.folder / "moved").rename(log)
    assert missing.returncode == 1
    assert f"The log is in {log}, and that cannot be read: No such file or directory." in missing.stderr


def test_follow_goes_on(here):
    """--follow shows what comes, also in a file that takes the old one's place, and ends with Ctrl-C."""
    log = here.folder / "log.1"

    def say(text):
        with log.open("a") as opened:
            line = {"timestamp": "2026-11-30T18:00:00Z", "clip": "b.mp4", "message": f"b.mp4: {text}"}
            opened.write(json.dumps(line) + "\n")

    command = [sys.executable, "-m", "povwatch", "logs", "b", "--follow"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, cwd=here.folder, env=os.environ | {"PYTHONUNBUFFERED": "1"}, **pipes) as process:
        while "b.mp4: done in" not in process.stdout.readline():
            pass
        say("one more")
        while "one more" not in process.stdout.readline():
            pass
        before = log.read_text()
        log.rename(here.folder / "log.old")
        say("in a new file")
        assert process.stdout.readline().endswith("b.mp4: in a new file\n")
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
    assert process.returncode == 0
    log.write_text(before)


def test_journal_is_read_by_journalctl(here, tmp_path):
    """Under systemd it becomes journalctl, with the unit, and the clip and look as fields."""
    journalctl = tmp_path / "journalctl"
    journalctl.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    journalctl.chmod(0o755)
    code = (
        "import sys; from povwatch.journal import Journal; from pathlib import Path\n"
        "journal = Journal.open(Path('.povwatch'), fresh=lambda: None)\n"
        "journal.set_facts(log={'to': 'journal', 'unit': 'povwatch.service'}); journal.close()"
    )
    subprocess.run([sys.executable, "-c", code], cwd=here.folder, check=True)
    here.env["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    try:
        asked = here.call("logs", "a").stdout.split("\n")
        followed = here.call("logs", "b@", "-f").stdout.split("\n")
    finally:
        del here.env["PATH"]
    assert asked == ["--unit=povwatch.service", "--output=short-iso", "VIDEO=kitchen/a.mp4", ""]
    assert {"--follow", "--lines=all", "VIDEO=b.mp4"} < set(followed)


def test_log_kept_nowhere_is_told(tmp_path):
    """A log that goes to another program is kept nowhere, and `logs` says what to do."""
    with Daemon(tmp_path / "pov", engine={"kind": toy("copies")}) as here:
        command = [sys.executable, "-m", "povwatch", "run", "--once"]
        subprocess.run(command, cwd=here.folder, check=True, capture_output=True, env=here._environment())
        said = here.call("logs")
    assert said.returncode == 1
    assert "is kept nowhere. Have it go to a file: povwatch run 2>>povwatch.log." in said.stderr
    assert Path(here.folder / ".povwatch").exists()
