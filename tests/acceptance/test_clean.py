"""povwatch clean beside a daemon that works, and without one."""

from __future__ import annotations

from support.waiting import Waiting, newest, sound


def leave(here, name):
    room = here.outputs / ".povwatch" / name
    room.mkdir()
    (room / "working.mp4").write_bytes(b"x" * 1000)
    return room


def test_takes_nothing_a_live_job_needs(tmp_path):
    """povwatch clean removes left-overs only, beside a daemon and without one; --dry-run removes nothing."""
    with Waiting(tmp_path / "pov") as here:
        assert here.call("clean").returncode == 1
        here.start()
        here.clip("a.mp4")
        here.until(lambda: here.runs)
        here.clip("b.mp4")
        here.wait_for("prepared", clip="b.mp4")  # ahead of its turn
        rooms = {path.name for path in (here.outputs / ".povwatch").iterdir()}
        left = leave(here, "77.r")
        lonely = here.inputs / "c.error.txt"
        lonely.write_text("povwatch: c.mp4 failed.")

        said = here.call("clean", "--dry-run")
        assert said.returncode == 0
        assert "staging of job 77: .povwatch/77.r, 1.0 kB\n" in said.stdout
        assert "error file of a clip that is gone: c.error.txt" in said.stdout
        assert "2 left over, 1.0 kB" in said.stdout
        assert left.exists()
        assert "2 removed, 1.0 kB.\n" in here.call("clean").stdout
        assert not left.exists()
        assert not lonely.exists()
        assert {path.name for path in (here.outputs / ".povwatch").iterdir()} == rooms
        here.let_go()
        here.wait_for("done", count=2)
        assert (newest(here).attempts, here.events("retry"), here.events("released")) == (1, [], [])
        assert here.stop() == 0

        left = leave(here, "2.old")
        assert "1 left over" in here.call("clean", "--dry-run").stdout
        assert left.exists()
        assert "1 removed, 1.0 kB." in here.call("clean").stdout
        assert here.call("clean").stdout == "nothing is left over.\n"
        sound(here)
