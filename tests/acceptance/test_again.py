"""A clip that ran: what starts another run, and what does not."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from support.daemons import Corner, Daemon
from support.waiting import Waiting


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Daemon(tmp_path_factory.mktemp("shared") / "pov", grace={"period": "100ms"}) as daemon:
        yield daemon.start()


@pytest.fixture
def here(shared, request):
    """A folder of its own in a daemon that the tests here share."""
    return Corner(shared, request.node.name)


@pytest.fixture
def alone(tmp_path):
    """A daemon of its own, not yet started."""
    with Daemon(tmp_path / "pov", grace={"period": "100ms"}) as daemon:
        yield daemon


def done(here, **options):
    clip = here.clip("a.mp4", **options)
    here.wait_for("done", clip="a.mp4")
    return clip


def videos(here):
    return [name for name in here.published() if name.endswith(".mp4")]


def test_same_clip_copied_again_is_done(here):
    """A clip that comes again with the same bytes, or is only touched, does not run a second time."""
    clip = done(here)
    again = here.folder / "again.mp4"
    shutil.copyfile(clip, again)
    again.rename(clip)
    said = here.wait_for("done-already", clip="a.mp4")
    assert "a_preview.mp4" in said["message"]
    shutil.copyfile(clip, again)
    clip.write_bytes(again.read_bytes())
    here.wait_for("done-already", clip="a.mp4", count=2)
    os.utime(clip)
    here.wait_for("done-already", clip="a.mp4", count=3)
    assert len(here.events("started")) == 1
    assert videos(here) == ["a/a_preview.mp4"]
    assert here.peek("a.mp4")["state"] == "done"
    assert here.daemon.running


def test_done_clip_deleted_and_back(here):
    """A clip that is done, goes away and comes back does not run again, and nothing is cancelled."""
    clip = done(here)
    os.utime(clip)
    here.wait_for("done-already", clip="a.mp4")
    aside = here.folder / "aside.mp4"
    clip.rename(aside)
    here.clip("b.mp4", frames=5)
    here.wait_for("done", clip="b.mp4")
    shutil.copyfile(aside, clip)
    here.wait_for("done-already", clip="a.mp4", count=2)
    assert len(here.events("started", clip="a.mp4")) == 1
    assert not here.events("cancelled")


def test_new_video_under_a_name_runs_again(here):
    """Another video under the same name runs, and its result gets a name of its own."""
    done(here, frames=12)
    here.clip("a.mp4", frames=8)
    here.wait_for("done", clip="a.mp4", count=2)
    assert videos(here) == ["a/a_preview.mp4", "a/a_preview_v2.mp4"]


def test_edited_json_runs_again(here):
    """Other values in the JSON start another run. Other whitespace, and povwatch's own options, do not."""
    done(here)
    spec = here.inputs / "a.json"
    values = json.loads(spec.read_text())
    spec.write_text(json.dumps(values, indent=8))
    values["povwatch"] = {"priority": 3}
    spec.write_text(json.dumps(values))
    here.clip("b.mp4", frames=5)
    here.wait_for("done", clip="b.mp4")  # by then the folder was looked at again
    assert len(here.events("seen")) + len(here.events("started")) == 4
    values["seed"] = 99
    spec.write_text(json.dumps(values))
    here.wait_for("done", clip="a.mp4", count=2)
    assert videos(here) == ["a/a_preview.mp4", "a/a_preview_v2.mp4", "b/b_preview.mp4"]
    seeds = [json.loads((here.outputs / f"a/a_preview{v}.json").read_text())["spec"]["seed"] for v in ("", "_v2")]
    assert seeds == [0, 99]


def test_late_edit_runs_again(tmp_path):
    """An edit while the clip runs is reported once and makes another run. A touch is no edit."""
    with Waiting(tmp_path / "pov", grace={"period": "100ms"}) as here:
        here.clip("a.mp4")
        here.start()
        here.until(lambda: here.runs)
        spec = here.inputs / "a.json"
        os.utime(spec)
        here.clip("b.mp4", frames=5)
        here.wait_for("queued", clip="b.mp4")
        assert not here.events("late-edit"), "a touch is no edit"
        values = json.loads(spec.read_text())
        values["seed"] = 4
        spec.write_text(json.dumps(values))
        here.wait_for("late-edit", clip="a.mp4")
        here.let_go()
        here.wait_for("done", clip="a.mp4", count=2)
        assert videos(here)[:2] == ["a/a_preview.mp4", "a/a_preview_v2.mp4"]
        seeds = [json.loads((here.outputs / f"a/a_preview{v}.json").read_text())["spec"]["seed"] for v in ("", "_v2")]
        assert seeds == [0, 4]
        assert len(here.events("late-edit")) == 1


def test_clip_replaced_while_it_runs(tmp_path):
    """The run of the old video ends, and then the new video runs."""
    with Waiting(tmp_path / "pov", grace={"period": "100ms"}) as here:
        here.clip("a.mp4", frames=12)
        here.start()
        here.until(lambda: here.runs)
        here.clip("a.mp4", frames=7)
        here.let_go()
        here.wait_for("done", clip="a.mp4", count=2)
        assert [line["frames"] for line in here.events("checked")] == [12, 7]


def test_clip_deleted_while_it_runs(tmp_path):
    """A clip that is deleted while it runs is cancelled, and nothing of it is published."""
    with Waiting(tmp_path / "pov", grace={"period": "100ms"}) as here:
        clip = here.clip("a.mp4", frames=12)
        here.start()
        here.until(lambda: here.runs)
        clip.unlink()
        here.until(lambda: here.events("cancelled") or "cancel" in here.text(), patience=12)
        here.let_go()
        here.wait_state("a.mp4", "cancelled")
        assert videos(here) == []


def test_run_before_a_restart_is_remembered(alone):
    """A clip that was done before a restart does not run again when it is touched."""
    clip = done(alone.start())
    alone.stop()
    os.utime(clip)
    alone.start()
    alone.wait_for("done-already", clip="a.mp4")
    assert len(alone.events("started")) == 1


def test_rejected_json_runs_once_mended(alone):
    """A clip with an invalid JSON is rejected at grace.max, and runs once its JSON is replaced by a valid one."""
    alone.configure(grace={"period": "100ms", "max": "1s"})
    (alone.inputs / "a.json").write_text("{")
    alone.clip("a.mp4")
    alone.start().wait_for("rejected", clip="a.mp4")
    assert (alone.inputs / "a.error.txt").exists()
    os.utime(alone.inputs / "a.mp4")
    alone.wait_for("rejected", clip="a.mp4", count=2)
    (alone.inputs / "a.json").unlink()
    (alone.inputs / "a.json").write_text('{"name": "a", "prompt": "x", "video_path": "a.mp4", "edge": {}}')
    alone.wait_for("done", clip="a.mp4")
    assert not (alone.inputs / "a.error.txt").exists()
