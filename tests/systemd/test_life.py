"""The installed service under a real systemd: whatever ends it, every clip is published once."""

from __future__ import annotations

import json

import pytest
from support.systemd_service import CONFIG, SHORT

pytestmark = pytest.mark.timeout(300)  # the first test boots the machine


def done(machine, clip, *, attempt=1):
    """The clip comes to its end, once, in this attempt; its number."""
    job = machine.wait_for("done", video=clip)["JOB"]
    stem = clip.partition(".")[0]
    assert machine.published(stem) == [f"{stem}_preview.json", f"{stem}_preview.mp4"]
    assert machine.said("started", video=clip)[-1]["POVWATCH_ATTEMPT"] == str(attempt)
    return job


def test_clip_comes_out_after_installing(machine):
    """As a user has it, with the default configuration: copied by somebody else, started by a word."""
    assert "povwatch is installed in /opt/povwatch" in machine.installed
    machine.settle_as_installed()
    assert machine.shown("UnitFileState") == "enabled"
    assert list(machine.at("/opt/povwatch/povwatch/core/__pycache__").glob("job.*.pyc"))
    machine.clip("first.mp4", frames=30, audio="aac")
    machine.wait_for("grace", video="first.mp4")
    machine.run("povwatch", "go", "first")
    job = done(machine, "first.mp4")
    # the journal's fields select a clip
    by_job = machine.run("journalctl", "-o", "cat", f"JOB={job}").stdout.splitlines()
    by_clip = machine.run("journalctl", "-o", "cat", "VIDEO=first.mp4").stdout.splitlines()
    assert any("checked: 30 frames" in line for line in by_job)
    assert by_job == by_clip
    logged = machine.run("povwatch", "logs", "first").stdout.splitlines()
    assert [line.partition("]: ")[2] for line in logged] == by_clip
    assert "go first.mp4: it starts as soon as a worker is free." in by_job
    events = machine.run("journalctl", "-o", "json", f"JOB={job}", "EVENT=done").stdout.splitlines()
    assert [json.loads(line)["STATE"] for line in events] == ["done"]
    assert machine.run("journalctl", f"JOB={int(job) + 1000}", "-o", "cat", "-q").stdout == ""


def test_same_installation_leaves_it_running(machine):
    """An installation that changes nothing leaves the service running."""
    machine.settle("waits")
    before = machine.pid
    assert "Everything was up to date." in machine.install()
    assert machine.pid == before


def test_killed_daemon_is_back(machine):
    """A killed daemon is back and takes its clip up again, at no attempt's cost."""
    machine.settle("waits")
    before = machine.pid
    machine.clip("killed.mp4")
    machine.until(lambda: machine.runs, "it is generated")
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "povwatch")
    machine.until(lambda: machine.runs == 2, "it is generated again")
    assert machine.pid not in {0, before}
    machine.let_go()
    done(machine, "killed.mp4")  # a crash of ours is no attempt of its


def test_killed_worker_is_replaced(machine):
    """A killed worker is replaced, and the daemon stays."""
    machine.settle("waits")
    before = machine.pid
    machine.clip("worker.mp4")
    machine.until(lambda: machine.runs, "it is generated")
    machine.run("kill", "-KILL", *(str(pid) for pid in machine.processes - {before}))
    machine.until(lambda: machine.runs == 2, "it is generated again")
    machine.let_go()
    done(machine, "worker.mp4", attempt=2)
    assert machine.pid == before


def test_restart_costs_nothing(machine):
    """A restart in the middle of a job charges nothing."""
    machine.settle("waits")
    before = machine.pid
    machine.clip("restarted.mp4")
    machine.until(lambda: machine.runs, "it is generated")
    machine.run("systemctl", "restart", "povwatch")
    assert machine.pid != before
    assert "nothing charged" in machine.said("released", video="restarted.mp4")[-1]["MESSAGE"]
    machine.let_go()
    done(machine, "restarted.mp4")
    assert machine.said("orphaned") == []


def test_watchdog_replaces_a_still_daemon(machine):
    """A daemon that stands still is ended by the watchdog and replaced."""
    machine.settle("waits", service="WatchdogSec=6")
    before = machine.pid
    machine.clip("stopped.mp4")
    machine.until(lambda: machine.runs, "it is generated")
    machine.run("kill", "-STOP", str(before))
    machine.until(lambda: "Watchdog timeout" in machine.texts(), "the watchdog barks")
    machine.until(lambda: machine.runs == 2, "it is generated again")
    assert machine.pid not in {0, before}
    machine.let_go()
    done(machine, "stopped.mp4")


def test_stop_is_in_time(machine):
    """A stop is in time even if the engine does not listen."""
    machine.settle("locks_the_interpreter")
    machine.clip("deaf.mp4")
    machine.wait_for("prepared", video="deaf.mp4")
    machine.run("systemctl", "stop", "povwatch")
    # had systemd lost patience (TimeoutStopSec), the result were "timeout"
    assert [machine.shown(name) for name in ("ActiveState", "Result")] == ["inactive", "success"]
    assert machine.processes == set()
    machine.settle("waits")
    machine.let_go()
    machine.wait_for("done", video="deaf.mp4")


HOOK = """\
[[hooks]]
name = "tells"
when = "after"
argv = ["sh", "-c", "touch /etc/x || echo $0 no; setsid sleep 600 & cp $1 $2/copy", "{job}", "{output}", "{outdir}"]
"""


def test_hook_has_the_services_rights(machine):
    """A hook has the service's rights, logs with the job's fields, and leaves no process."""
    machine.settle("waits", config=SHORT + HOOK)
    machine.let_go()
    machine.clip("hooked.mp4")
    job = machine.wait_for("done", video="hooked.mp4")["JOB"]
    lines = {line["POVWATCH_LINE"] for line in machine.said("hook-output", video="hooked.mp4")}
    assert {line["JOB"] for line in machine.said("hook-output", video="hooked.mp4")} == {job}
    assert f"{job} no" in lines
    assert any("Read-only file system" in line for line in lines)
    assert "left 1 process (s" in machine.said("hook-left", video="hooked.mp4")[-1]["MESSAGE"]
    assert "sleep" not in machine.run("ps", "-eo", "comm").stdout.split()
    assert machine.published("hooked") == ["copy", "hooked_preview.json", "hooked_preview.mp4"]


MISTAKES = {
    "[grace]\nperiod = 'soon'\n": "grace.period",
    "[engine\n": "line 1",
    '[paths]\noutputs = "/etc/results"\n': "Read-only file system",
}


def test_wrong_configuration_is_not_repeated(machine):
    """A mistake in the configuration is told, and the service is not started again for it."""
    machine.settle("waits")
    right = machine.at(CONFIG).read_text()
    for wrong, words in MISTAKES.items():
        machine.at(CONFIG).write_text(wrong)
        assert machine.run("systemctl", "restart", "povwatch", check=False).returncode == 1
        # a unit that is to be restarted is "activating", not "failed"
        shown = {name: machine.shown(name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")}
        assert shown == {"ActiveState": "failed", "ExecMainStatus": "2", "NRestarts": "0"}
        machine.until(lambda words=words: words in machine.texts(), words)
    machine.at(CONFIG).write_text(right)
    machine.run("systemctl", "start", "povwatch")
    assert machine.shown("ActiveState") == "active"


def test_full_disk_charges_nothing(machine):
    """A full disk makes clips wait and charges nothing."""
    machine.settle("waits")
    machine.run("systemctl", "stop", "povwatch")
    machine.run("mount", "-t", "tmpfs", "-o", "size=32m", "none", "/srv/povwatch")
    try:
        machine.run("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/povwatch.conf")
        machine.settle("waits")
        machine.clip("midway.mp4")
        machine.until(lambda: machine.runs, "it is generated")
        machine.run("sh", "-c", "cat /dev/zero >/srv/povwatch/ballast || true")
        machine.let_go()
        assert "nothing charged" in machine.wait_for("released", video="midway.mp4")["MESSAGE"]
        machine.run("povwatch", "cancel", "midway.mp4")
        assert machine.published("midway") == []
        # Room for a JSON, but less than disk.reserve. A new start spares the test the pause that the engine is given.
        machine.run("truncate", "--size=-256K", "/srv/povwatch/ballast")
        machine.run("systemctl", "restart", "povwatch")
        machine.wait_for("disk-full")
        machine.clip("full.mp4")
        machine.until(lambda: machine.shows("full.mp4")["waiting_on"] == "disk-full", "it waits for room")
        machine.at("/srv/povwatch/ballast").unlink()
        done(machine, "full.mp4")
    finally:
        machine.run("systemctl", "stop", "povwatch")
        machine.run("umount", "/srv/povwatch")
