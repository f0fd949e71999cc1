"""Where a finished clip goes when something stands in outputs/ already."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from support.clips import make_clip
from support.daemons import Daemon, toy
from support.waiting import Waiting, newest, sound

PAIR = ["a/a_preview.json", "a/a_preview.mp4"]
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounts something, which takes root")


@pytest.fixture
def here(tmp_path):
    with Daemon(tmp_path / "pov") as daemon:
        yield daemon


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_manifest_says_what_was_run(here):
    """The manifest has the clip, the spec, the engine, the result, times and hashes, but no private path."""
    here.clip("d/a.mov", frames=7, size=(98, 66), audio="aac")
    assert here.once().returncode == 0
    manifest = json.loads((here.outputs / "d/a/a_preview.json").read_text())
    job = here.show("d/a.mov")
    assert manifest["clip"] == "d/a.mov"
    assert bytes.fromhex(manifest["source"]["path_hex"]) == b"d/a.mov"
    assert manifest["kind"] == "preview"
    assert "not a generated video" in manifest["note"]
    assert manifest["source"]["sha256"] == job["source_hash"]
    assert manifest["spec_hash"] == job["spec_hash"]
    assert manifest["spec"]["edge"]["control_weight"] == 1.0
    assert "povwatch" not in manifest["spec"]
    assert manifest["engine"]["name"] == "copies"
    assert manifest["output"]["file"] == "a_preview.mp4"
    assert (manifest["output"]["frames"], manifest["output"]["width"], manifest["output"]["height"]) == (7, 98, 66)
    assert manifest["output"]["audio"]
    assert set(manifest["seconds"]) == {"prepare", "sound", "generate", "finish", "check", "score"}
    assert manifest["run_id"] == job["run_id"]
    assert manifest["started_at"] <= manifest["finished_at"]
    assert not [value for value in manifest["generated"].values() if str(here.folder) in str(value)]
    sound(here)


def test_foreign_file_stays(here):
    """A file of somebody else stays as it is, and the result gets the next name."""
    theirs = here.outputs / "a/a_preview.mp4"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    overlay = here.outputs / "a/1_mano_overlay.mp4"
    overlay.write_text("hands")
    here.clip()
    assert here.once().returncode == 0
    assert theirs.read_text() == "theirs"
    assert overlay.read_text() == "hands"
    assert here.published() == [
        *("a/1_mano_overlay.mp4", "a/a_preview.mp4", "a/a_preview_v2.json", "a/a_preview_v2.mp4"),
    ]
    assert here.peek("a.mp4")["output"] == "a/a_preview_v2.mp4"
    assert json.loads((here.outputs / "a/a_preview_v2.json").read_text())["output"]["file"] == "a_preview_v2.mp4"
    sound(here)


def test_symlink_in_the_way(tmp_path):
    """A symlink in the result's place fails the job before the engine works, and names the way out."""
    with Waiting(tmp_path / "pov") as here:
        here.let_go()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        here.outputs.mkdir()
        (here.outputs / "a").symlink_to(elsewhere)
        here.clip()
        done = here.once()
        assert done.returncode == 1
        assert here.runs == []
        (failed,) = [line for line in done.stderr.splitlines() if '"event": "failed"' in line]
        assert failed.count("povwatch retry") == 1
        assert list(elsewhere.iterdir()) == []
        note = (here.inputs / "a.error.txt").read_text()
        assert "is a symlink to" in note
        assert note.count("povwatch retry a.mp4") == 1
        (here.outputs / "a").unlink()
        here.call("retry", "a.mp4")
        assert here.once().returncode == 0
        assert here.published() == PAIR
        assert not (here.inputs / "a.error.txt").exists()


def test_symlink_that_appears_meanwhile(tmp_path):
    """A symlink that appears while the engine works fails the job, and nothing is generated again."""
    with Waiting(tmp_path / "pov") as here:
        here.start()
        here.clip()
        here.until(lambda: here.runs)
        (here.outputs / "a").symlink_to(tmp_path)
        here.let_go()
        here.wait_for("failed")
        here.stop()
        assert here.runs == [1]
        assert "is a symlink to" in here.peek("a.mp4")["error"]


def test_file_in_a_folders_place(tmp_path):
    """The message says it is a file; the artifact is kept, and a retry finishes it."""
    with Waiting(tmp_path / "pov") as here:
        here.start()
        here.clip()
        here.until(lambda: here.runs)
        (here.outputs / "a").write_text("theirs")
        here.let_go()
        told = here.wait_for("failed")["message"]
        kept = json.loads(newest(here).artifact)["artifact"]["path"]
        assert f"{here.outputs}/a is a file, where a folder is needed. What was generated is kept: `{kept}`." in told
        assert "through a link" not in told
        note = (here.inputs / "a.error.txt").read_text()
        assert f"What was generated is kept: {kept}\n" in note
        (here.outputs / "a").unlink()
        here.call("retry", "a.mp4")
        here.wait_for("done")
        here.stop()
        assert here.runs == [1]
        assert here.published() == PAIR


def test_name_taken_while_the_engine_works(tmp_path):
    """A name that is taken while the engine works stays; the result gets the next name."""
    with Waiting(tmp_path / "pov") as here:
        here.start()
        here.clip()
        here.until(lambda: here.runs)
        (here.outputs / "a").mkdir()
        (here.outputs / "a/a_preview.json").write_text("theirs")
        here.let_go()
        here.wait_for("done")
        here.stop()
        assert (here.outputs / "a/a_preview.json").read_text() == "theirs"
        assert here.published() == ["a/a_preview.json", "a/a_preview_v2.json", "a/a_preview_v2.mp4"]


def test_reserve_holds_everything_up(here):
    """Less room than disk.reserve holds the queue, and charges nothing."""
    here.configure(disk={"reserve": "900TB"})
    here.clip()
    done = here.once()
    assert done.returncode == 3, done.stderr
    assert "less room left than disk.reserve (900 TB)" in done.stderr.splitlines()[-1]
    job = here.peek("a.mp4")
    assert (job["state"], job["waiting_on"], job["attempts"]) == ("queued", "disk-full", 0)
    here.configure()
    assert here.once().returncode == 0


@ROOT
def test_full_disk_is_waited_for(here):
    """A full disk is waited for, and povwatch goes on by itself."""
    here.outputs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", here.outputs], check=True)
    try:
        here.configure(disk={"reserve": "4MB"})
        filler = here.outputs / "filler"
        filler.write_bytes(bytes(6_000_000))
        here.start()
        here.clip()
        full = here.wait_for("disk-full")
        assert "Make room; it goes on by itself" in full["message"]
        here.until(lambda: (job := newest(here)) and job.waiting_on == "disk-full")
        assert "less room left" in here.call("why", "a.mp4").stdout.replace("\n", " ")
        filler.unlink()
        here.wait_for("disk-room")
        here.wait_for("done")
        here.stop()
        assert here.published() == PAIR
    finally:
        subprocess.run(["umount", "-l", here.outputs], check=True)


def test_outputs_away_hold_the_queue(tmp_path):
    """An outputs folder that is gone pauses the queue, charges nothing, and goes on once it is back."""
    with Waiting(tmp_path / "pov", load=False) as here:
        here.start()
        here.clip()
        here.wait_for("queued")
        shutil.rmtree(here.outputs)
        here.let_load()
        here.let_go()
        away = here.wait_for("outputs-away")
        assert "is not there. Mount its disk" in away["message"]
        here.until(lambda: newest(here).waiting_on == "paused")
        assert "outputs folder" in here.call("why", "a.mp4").stdout
        assert newest(here).attempts == 0
        here.outputs.mkdir()
        here.wait_for("outputs-back")
        here.wait_for("done")
        here.stop()
        assert here.published() == PAIR
        assert here.runs == [1]


def test_outputs_away_under_a_running_job(tmp_path):
    """A job whose outputs folder goes away is handed back and charged nothing."""
    with Waiting(tmp_path / "pov", engine={"kind": toy("waits"), "attempts": 1}) as here:
        here.start()
        here.clip()
        here.until(lambda: here.runs)
        shutil.rmtree(here.outputs)
        here.let_go()
        released = here.wait_for("released")
        assert "went away while it ran" in released["message"]
        assert (newest(here).state, newest(here).attempts) == ("queued", 0)
        here.until(lambda: newest(here).waiting_on == "paused")
        assert here.events("failed") == []
        here.outputs.mkdir()
        here.wait_for("done")
        here.stop()
        assert here.published() == PAIR
        assert newest(here).attempts == 1
        assert not (here.inputs / "a.error.txt").exists()
        sound(here)


@ROOT
def test_outputs_unmounted_under_a_job(tmp_path):
    """Nothing is written below the mount point; the job waits for its disk."""
    with Waiting(tmp_path / "pov", engine={"kind": toy("waits"), "attempts": 1}) as here:
        disk = tmp_path / "disk"
        for folder in (disk, here.outputs):
            folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", disk], check=True)
        try:
            subprocess.run(["mount", "--bind", disk, here.outputs], check=True)
            here.start()
            here.clip()
            here.until(lambda: here.runs)
            subprocess.run(["umount", "-l", here.outputs], check=True)
            here.let_go()
            here.wait_for("outputs-away")
            here.wait_for("released")
            here.until(lambda: newest(here).waiting_on == "paused")
            assert newest(here).attempts == 0
            assert list(here.outputs.iterdir()) == [], "nothing is written below a mount point without its disk"
            subprocess.run(["mount", "--bind", disk, here.outputs], check=True)
            here.wait_for("done")
            here.stop()
            assert here.published() == PAIR
            sound(here)
        finally:
            for folder in (here.outputs, disk):
                subprocess.run(["umount", "-l", folder], check=False)


def test_done_clip_is_moved_with_its_json(here):
    """With source = "move" a clip and its JSON move to .done, where another clip of that name takes the next name."""
    here.configure(publish={"source": "move"}, arrival={"rescan": "300ms"})
    bytes_ = here.clip("d/a.mp4").read_bytes()
    here.start()
    moved = here.wait_for("moved")
    assert moved["message"] == "d/a.mp4: the clip was moved to d/.done/a.mp4"
    here.wait_for("done")  # the JSON follows its clip
    assert (here.inputs / "d/.done/a.mp4").read_bytes() == bytes_
    assert json.loads((here.inputs / "d/.done/a.json").read_text())["video_path"] == "a.mp4"
    assert names(here.inputs / "d") == [".done"]
    # another clip of that name is another clip: it runs, and finds its place beside the first
    other = make_clip(here.folder / "other.mp4", frames=5)
    here.copy(other, "d/a.mp4")
    here.wait_for("moved", count=2)
    here.wait_for("done", count=2)
    here.stop()
    assert names(here.inputs / "d/.done") == ["a.json", "a.mp4", "a_v2.json", "a_v2.mp4"]
    assert (here.inputs / "d/.done/a_v2.mp4").read_bytes() == other.read_bytes()
    assert [event["clip"] for event in here.events("cancelled")] == []
    assert len(here.events("seen")) == 2
    sound(here)


def test_replaced_clip_is_not_moved_but_run(tmp_path):
    """A clip that is replaced while the old one runs is not moved, but run."""
    with Waiting(tmp_path / "pov", publish={"source": "move"}) as here:
        here.start()
        here.clip()
        here.until(lambda: here.runs)
        make_clip(here.folder / "other.mp4", frames=5).rename(here.inputs / "a.mp4")
        here.let_go()
        here.wait_for("done", count=2)
        here.stop()
        assert len(here.events("moved")) == 1
        manifests = [json.loads((here.outputs / name).read_text()) for name in here.published() if "json" in name]
        assert sorted(manifest["output"]["frames"] for manifest in manifests) == [5, 12]


def test_edited_clip_is_moved_later(tmp_path):
    """A clip whose JSON is edited while it runs is moved after the run of the edit."""
    with Waiting(tmp_path / "pov", publish={"source": "move"}) as here:
        here.start()
        here.clip()
        here.until(lambda: here.runs)
        spec = here.inputs / "a.json"
        spec.write_text(spec.read_text().replace('"seed": 0', '"seed": 7'))
        here.wait_for("late-edit")
        here.let_go()
        here.wait_for("done", count=2)
        here.wait_for("moved")
        here.stop()
        assert names(here.inputs) == [".done"]
        assert len(here.runs) == 2


def test_clip_that_cannot_be_moved_is_done(here):
    """A clip that cannot be moved is done all the same, and the failure is logged."""
    here.configure(publish={"source": "move"})
    (here.inputs / ".done").write_text("a file where the folder ought to be")
    here.clip()
    here.start()
    failed = here.wait_for("move-failed")
    assert "could not be moved to .done/a.mp4" in failed["message"]
    here.wait_for("done")
    here.stop()
    assert (here.inputs / "a.mp4").exists()
    assert here.published() == PAIR
