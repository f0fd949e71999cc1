"""Notifications as a user has them: a real service that listens, the real daemon, and the process that sends."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest
from support.daemons import Daemon, toy
from support.receivers import Receiver

pytest.importorskip("apprise")

ALL = ["done", "failed", "queue-empty"]


def no_secret(*texts):
    assert all("geheim" not in text for text in texts)


def test_once_tells_before_it_ends(tmp_path):
    """--once ends with one message about everything; no URL is in the log, in the journal or on a command line."""
    with Receiver() as receiver, Daemon(tmp_path / "pov", notify=[{"url": receiver.url, "on": ALL}]) as here:
        for name in ("a.mp4", "b.mp4"):
            here.clip(name)
        done = here.once()
        assert done.returncode == 0, done.stderr
        (message,) = receiver.got
        assert message["title"].endswith(": the queue is empty, 2 clips are done")
        assert "- a.mp4: a/a_preview.mp4" in message["message"]
        assert f"The results are in {here.outputs}." in message["message"]
        assert '"event": "notified"' in done.stderr
        no_secret(done.stderr, done.stdout, here.call("status").stdout, here.call("show", "a").stdout)
        no_secret(*(file.read_text("latin-1") for file in here.state.rglob("*") if file.is_file()))


def test_dead_service_delays_no_clip(tmp_path):
    """A service that refuses is one line; the clips come out, and what waits is sent by the next start."""
    with Receiver(status=500) as receiver, Daemon(tmp_path / "pov", notify=[{"url": receiver.url, "on": ALL}]) as here:
        here.clip()
        done = here.once()
        assert done.returncode == 0
        assert here.published() == ["a/a_preview.json", "a/a_preview.mp4"]
        (line,) = [line for line in done.stderr.splitlines() if "notify-failed" in line]
        assert "JSON (notify, entry 1) could not be told: " in line
        no_secret(done.stderr)
        receiver.status = 200
        here.once()
        assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("jsn://user:geheim@host/geheim", "jsn:// is no service of Apprise; did you mean json://?"),
        ("geheim", "is no URL of Apprise: write it as service://"),
    ],
)
def test_wrong_url_is_refused_at_the_start(tmp_path, url, says):
    """The file, the line and the field are named, and the URL is not."""
    with Daemon(tmp_path / "pov", notify=[{"url": url, "on": ALL}]) as here:
        done = here.once()
        assert done.returncode == 2
        assert re.search(rf"config.toml, line \d+: notify.url, entry 1: {re.escape(says)}", done.stderr)
        no_secret(done.stdout, done.stderr)


def test_user_can_try_it(tmp_path):
    with Receiver() as receiver, Daemon(tmp_path / "pov", notify=[{"url": receiver.url, "on": ALL}]) as here:
        tried = here.call("notify", "--test")
        assert (tried.returncode, tried.stdout) == (0, "JSON (notify, entry 1): has it.\n")
        assert "There is nothing to do." in receiver.got[0]["message"]
        receiver.status = 403
        refused = here.call("notify", "--test")
        assert refused.returncode == 1
        no_secret(tried.stdout, refused.stdout, refused.stderr)
        here.configure()
        assert "has no [[notify]]" in here.call("notify", "--test").stderr


def test_helper_unit_sends(tmp_path):
    """As under systemd: the daemon only leaves notices, and another process sends them, also when it is stopped."""
    section = {"url": "@/nobody/may/read/this", "on": ALL}
    with (
        Receiver() as receiver,
        Daemon(tmp_path / "pov", notify=[section], engine={"kind": toy("sticky"), "attempts": 1}) as here,
    ):
        here.env["POVWATCH_NOTIFIER"] = "unit"
        here.configure(notify=[{"url": receiver.url, "on": ALL}], engine={"kind": toy("sticky"), "attempts": 1})
        here.clip()
        here.once()
        assert receiver.asked == 0
        assert len(list((here.state / "notify").glob("*.notice"))) == 2
        del here.env["POVWATCH_NOTIFIER"]  # as a shell, which does not know the unit's environment
        assert "sent by povwatch-notify.service" in here.call("doctor", "--engine", "preview").stdout
        command = [sys.executable, "-m", "povwatch", "notify"]
        with subprocess.Popen(command, cwd=here.folder, stderr=subprocess.PIPE, text=True, env=os.environ) as helper:
            here.until(lambda: (here.state / "notify/lock").exists() and (here.state / "notify/lock").read_text())
            second = here.call("notify")
            helper.send_signal(signal.SIGTERM)
            said = helper.communicate(timeout=30)[1]
        assert (second.returncode, f"(pid {helper.pid})" in second.stderr) == (1, True)
        assert helper.returncode == 0
        (message,) = receiver.got
        assert message["title"].endswith(": the queue is empty, 1 clip failed")
        assert "CUDA error" in message["message"]
        assert "povwatch jobs --state failed" in message["message"]
        assert '"event": "notified"' in said
        no_secret(said)
        assert list((here.state / "notify").glob("*.notice")) == []
