"""povwatch pause and resume, working hours, and priorities of folders, in a whole povwatch."""

from __future__ import annotations

import json
import time

from support.daemons import Daemon
from support.waiting import Waiting, newest


def test_pause_resume_and_folder_priorities(tmp_path):
    """A pause lets what runs end and outlives a restart; after resume, folder priorities decide."""
    after = {"name": "tell", "when": "after", "argv": ["touch", "told.{stem}"]}
    with Waiting(tmp_path / "pov", spec={"priorities": {"urgent/**": 10}}, hooks=[after]) as here:
        here.start()
        here.clip("a.mp4")
        here.until(lambda: here.runs)
        for path in ("b.mp4", "urgent/c.mp4", "urgent/d.mp4"):
            here.clip(path)
        paused = here.call("pause")
        assert (paused.returncode, paused.stderr) == (0, "")
        assert "Paused by root" in paused.stdout.replace("\n", " ") or "Paused by" in paused.stdout
        here.until(lambda: (job := newest(here, b"b.mp4")) and (job.state, job.waiting_on) == ("queued", "paused"))
        assert "povwatch resume" in newest(here, b"b.mp4").detail
        here.let_go()
        here.wait_for("done", clip="a.mp4")
        assert (here.folder / "told.a").exists(), "what runs is finished, and what comes after it"
        assert here.stop() == 0
        assert "Paused by" in here.call("status").stdout

        spec = json.loads((here.inputs / "urgent/d.json").read_text())
        (here.inputs / "urgent/d.json").write_text(json.dumps(spec | {"povwatch": {"priority": -1}}))
        here.start()
        for clip in (b"b.mp4", b"urgent/c.mp4", b"urgent/d.mp4"):
            here.until(lambda clip=clip: (job := newest(here, clip)) and job.waiting_on == "paused", clip)
        assert here.runs == [1]
        assert here.events("engine-ready", start=2) == [], "a GPU is not taken for nothing"
        assert "Paused by" in here.call("why", "b.mp4").stdout
        here.until(lambda: "Paused by" in here.call("status").stdout)
        assert here.ask("resume", "").done
        here.wait_for("done", count=4)
        order = [newest(here, path).id for path in (b"a.mp4", b"urgent/c.mp4", b"b.mp4", b"urgent/d.mp4")]
        assert here.runs == order
        assert here.ask("resume", "").text == "it is not paused."


def test_once_outside_working_hours(tmp_path):
    """--once outside of engine.hours starts nothing and says when it goes on."""
    with Daemon(tmp_path / "pov") as here:
        noon = time.strftime("%H:%M", time.localtime(time.time() + 12 * 3600))
        later = time.strftime("%H:%M", time.localtime(time.time() + 12 * 3600 + 60))
        here.configure(engine={"hours": f"{noon}-{later}"})
        here.clip()
        ended = here.once()
        assert ended.returncode == 1
        assert f"Outside of engine.hours ({noon}-{later}): it goes on at" in ended.stderr + ended.stdout
        assert (newest(here).state, newest(here).waiting_on) == ("queued", "paused")
        here.env["POVWATCH_ENGINE__HOURS"] = ""
        assert here.once().returncode == 0
