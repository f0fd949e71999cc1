"""outputs/, where others of the group may write too: nothing is put through a link of theirs."""

from __future__ import annotations

from support.daemons import Daemon
from support.waiting import Waiting, newest, sound


def test_nothing_is_written_through_a_link(tmp_path):
    """A link in outputs/ is never written through: the clip waits, fails or gets another name."""
    with Daemon(tmp_path / "pov") as here:
        outside = here.folder / "outside"
        outside.mkdir()
        here.outputs.mkdir(exist_ok=True)
        (here.outputs / ".povwatch").symlink_to(outside)
        (here.outputs / "b").symlink_to(outside)
        here.clip("a.mp4")
        here.start()  # as a restart by the manager would find it
        said = here.wait_for("outputs-away")
        assert ".povwatch is a symlink to" in said["problem"]
        here.wait_state("a.mp4", "queued")
        (here.outputs / ".povwatch").unlink()
        here.wait_for("done", clip="a.mp4")
        here.clip("b.mp4")
        said = here.wait_for("failed", clip="b.mp4")
        assert "outputs/b" in said["problem"]
        (here.outputs / "c").mkdir()
        for name in ("c_preview.mp4", "c_preview.json"):
            (here.outputs / "c" / name).symlink_to(outside / name)
        here.clip("c.mp4")
        here.wait_for("done", clip="c.mp4")
        assert "c/c_preview_v2.mp4" in here.published()
        assert list(outside.iterdir()) == []
        (here.outputs / ".povwatch").rename(here.outputs / "away")
        (here.outputs / ".povwatch").mkdir()
        (here.outputs / ".povwatch").chmod(0o777)
        assert "may be written by others" in here.wait_for("outputs-away", count=2)["problem"]
        here.clip("d.mp4")
        here.wait_state("d.mp4", "queued", waiting_on="paused")
        (here.outputs / ".povwatch").rmdir()
        (here.outputs / "away").rename(here.outputs / ".povwatch")
        here.wait_for("done", clip="d.mp4")


def test_foreign_work_folder_is_not_believed(tmp_path):
    """An artifact is not taken from a folder that others may write to: the attempt is handed back."""
    with Waiting(tmp_path / "pov") as here:
        rooms, away = here.outputs / ".povwatch", here.outputs / "away"
        here.start()
        here.clip()
        here.until(lambda: here.runs)
        rooms.rename(away)
        (rooms / next(away.iterdir()).name).mkdir(parents=True)
        rooms.chmod(0o777)
        here.let_go()
        here.wait_for("released")
        waiting = here.wait_state("a.mp4", "queued", waiting_on="paused")
        assert waiting["attempts"] == 0
        assert f"{rooms} may be written by others" in waiting["detail"]
        for room in rooms.iterdir():
            for file in room.iterdir():
                file.unlink()
            room.rmdir()
        rooms.rmdir()
        away.rename(rooms)
        here.wait_for("done")
        assert (here.runs, newest(here).attempts) == ([1, 1], 1)
        assert here.stop() == 0
        sound(here)
