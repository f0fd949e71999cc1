"""What nobody thought of: one clip pays for it at most, and the daemon says so."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess

import pytest
from support.daemons import Daemon, toy
from support.waiting import Waiting, newest, sound


def test_words_that_no_file_takes(tmp_path):
    """Text of an engine that UTF-8 cannot encode costs nothing more than its own clip."""
    with Daemon(tmp_path / "pov", engine={"kind": toy("odd_words"), "attempts": 1}) as here:
        spec = {"name": "a", "video_path": "a.mp4", "prompt": "hands", "seed": 666, "edge": {}}
        (here.inputs / "a.json").write_text(json.dumps(spec))
        here.clip("a.mp4")
        here.clip("b.mp4")
        here.start()
        failed = here.wait_for("failed")
        assert r"no \udcff\x1b[31m" in failed["message"]
        here.wait_for("done", clip="b.mp4")
        assert here.stop() == 0
        manifest = json.loads((here.outputs / "b/b_preview.json").read_text())
        assert manifest["generated"]["note"] == "\udcff\x1b[31m"
        assert r"no \udcff" in here.peek("a.mp4")["error"]
        assert "\x1b" not in (here.inputs / "a.error.txt").read_text()
        sound(here)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts something, which takes root")
def test_full_journal_is_waited_for(tmp_path):
    """A journal that takes no more is waited for, and no clip is lost."""
    with Waiting(tmp_path / "pov", disk={"reserve": "1B"}) as here:
        here.state.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", here.state], check=True)
        try:
            here.start()
            here.clip()
            here.until(lambda: here.runs)
            with (here.state / "filler").open("wb", buffering=0) as filler:
                try:
                    while filler.write(bytes(65536)):
                        pass
                except OSError:
                    pass
            here.clip("b.mp4")
            assert str(here.state) in here.wait_for("journal-full")["problem"]
            assert "Traceback" not in here.text()
            here.let_go()
            (here.state / "filler").unlink()
            here.wait_for("journal-back")
            here.wait_for("done", clip="a.mp4")
            here.wait_for("done", clip="b.mp4")
            assert here.stop() == 0
            sound(here)
        finally:
            subprocess.run(["umount", "-l", here.state], check=True)


def test_damaged_journal_is_refused(tmp_path):
    """A damaged journal is refused at the start, with the command that moves it aside."""
    here = Daemon(tmp_path / "pov")
    here.state.mkdir()
    (here.state / "journal.sqlite3").write_bytes(b"SQLite format 3\0" + bytes(8000))
    done = here.once()
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "povwatch rebuild --move-aside moves it aside" in done.stderr
    asked = here.call("jobs")
    assert asked.returncode == 1
    assert "Traceback" not in asked.stderr


def test_clip_deleted_while_down(tmp_path):
    """A clip that is deleted while the daemon is down is cancelled at the start."""
    with Waiting(tmp_path / "pov", grace={"period": "1h"}) as here:
        here.start()
        clip = here.clip()
        here.wait_for("grace")
        here.kill()
        clip.unlink()
        here.start()
        here.wait_for("cancelled", patience=15)
        here.stop()
        assert newest(here).state == "cancelled"


@pytest.mark.parametrize("artifact", ["garbage{", '{"folder": 5}', "[" * 5000])
@pytest.mark.parametrize("state", ["checking", "publishing"])
def test_damaged_record_is_set_aside(tmp_path, state, artifact):
    """A job whose record is damaged fails at the third start, its files are kept, and others go on."""
    with Daemon(tmp_path / "pov", grace={"period": "1h"}) as here:
        here.start()
        here.clip()
        here.wait_state("a.mp4", "grace")
        here.kill()
        with sqlite3.connect(here.state / "journal.sqlite3") as db:
            db.execute(
                "UPDATE jobs SET state = ?, run_id = 'r1', artifact = ?, promise = ?", (state, artifact, artifact)
            )
        db.close()
        for start in (2, 3):
            here.start()
            here.until(lambda n=start: here.peek("a.mp4")["state"] == "failed" or here.events("unforeseen", start=n))
            here.kill()
        here.start()
        here.wait_state("a.mp4", "failed")
        assert "is kept: all that there is in" in here.peek("a.mp4")["error"]
        here.clip("b.mp4", frames=5)
        here.wait_state("b.mp4", "grace")
        here.stop()
