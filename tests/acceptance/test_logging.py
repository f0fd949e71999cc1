"""The log as machines read it: JSON lines, one an event, whatever a file is called."""

from __future__ import annotations

import json
from datetime import datetime

from support.daemons import Daemon, toy


def test_line_for_everything_on_the_way(tmp_path):
    """Every step of a clip is one JSON line with its job, its time and a sentence, in order."""
    with Daemon(tmp_path / "pov") as here:
        here.start()
        here.clip()
        here.wait_for("done")
        here.stop()
        lines = [json.loads(line) for line in here.text().splitlines()]
        about = [line for line in lines if line.get("clip") == "a.mp4"]
        said = [line["event"] for line in about]
        assert [event for event in said if event not in {"arriving", "waiting", "progress"}] == [
            *("seen", "arrived", "spec-written", "grace", "queued", "started", "prepared"),
            *("generated", "checked", "scored", "done"),
        ]
        for line in about:
            assert line["job"] == 1
            assert line["message"].startswith("a.mp4: ")
            assert "{" not in line["message"]
            assert datetime.fromisoformat(line["timestamp"])
        assert about[-1]["message"].endswith("outputs/a/a_preview.mp4")
        assert about[-1]["state"] == "done"


def test_engine_traceback_is_in_the_log(tmp_path):
    """The traceback of an engine that fails is in the log."""
    with Daemon(tmp_path / "pov", engine={"kind": toy("sticky"), "attempts": 1}) as here:
        here.start()
        here.clip()
        here.wait_for("failed")
        here.stop()
        words = [event["line"] for event in here.events("engine-last-words")]
        assert "Traceback (most recent call last):" in words
        assert words[-1] == "RuntimeError: CUDA error: an illegal memory access was encountered"


def test_machine_refusal_is_one_line(tmp_path):
    """What the machine refuses an engine is one line; the traceback is for --verbose only."""
    with Daemon(tmp_path / "pov", engine={"kind": toy("disk_full"), "attempts": 1}) as here:
        here.start("--verbose")
        here.clip()
        released = here.wait_for("released")
        here.wait_for("engine-output", line="Traceback (most recent call last):")
        here.stop()
        work = here.outputs / ".povwatch" / "1."
        assert released["message"].startswith(f"a.mp4: handed back, nothing charged: No space is left for {work}"), (
            released
        )
        assert "OSError" not in released["message"]
        assert released["message"].count("/proc/") == 0
        assert here.events("engine-last-words") == []


def test_load_that_the_machine_refuses(tmp_path):
    """A load that the machine refuses is one line, without a traceback."""
    here = Daemon(tmp_path / "pov", engine={"attempts": 1})
    engine = tmp_path / "engine.py"
    engine.write_text(
        "import errno\n"
        "class Engine:\n"
        "    def load(self, config, report):\n"
        "        raise OSError(errno.ENOSPC, 'No space left on device', '/cache/model.bin')\n"
    )
    here.configure(engine={"kind": f"{engine}:Engine"})
    with here:
        here.start()
        told = here.wait_for("engine-unavailable")["message"]
        here.stop()
        assert "The engine could not be loaded: No space left on device (/cache/model.bin). Free some" in told
        assert here.events("engine-last-words") == []


def test_engine_output_only_when_verbose(tmp_path):
    """What an engine prints is logged with --verbose only."""
    with Daemon(tmp_path / "pov", engine={"kind": toy("prints_to_stdout"), "attempts": 1}) as here:
        here.start()
        here.wait_for("engine-ready")
        here.stop()
        assert here.events("engine-output") == []
        here.start("--verbose")
        here.wait_for("engine-output", line="from C")
        here.stop()


def test_unusable_time_zone_costs_no_clip(tmp_path):
    """A time zone that cannot be used is told, UTC takes its place, and every command works."""
    with Daemon(tmp_path / "pov") as here:
        # Started from nothing: a process that is forked has another zone already.
        here.env |= {"TZ": "UTC+25", "PYTHONPATH": str(tmp_path / "nothing")}
        here.start()
        assert "Times are in UTC" in here.wait_for("zone-unusable")["message"]
        here.clip()
        here.wait_for("done")
        for words in (("pause",), ("status",), ("why", "a.mp4"), ("show", "a.mp4"), ("report",), ("jobs",)):
            said = here.call(*words)
            assert (said.returncode, said.stderr) == (0, "")
        assert not here.events("unforeseen")
