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


def test_the_same_clip_copied_again_is_done_already(here):
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


def test_a_clip_that_is_done_already_can_be_deleted_and_come_back(here):
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


def test_another_video_of_the_same_name_runs_again(here):
    done(here, frames=12)
    here.clip("a.mp4", frames=8)
    here.wait_for("done", clip="a.mp4", count=2)
    assert videos(here) == ["a/a_preview.mp4", "a/a_preview_v2.mp4"]


def test_another_json_runs_again_and_another_form_of_it_does_not(here):
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


def test_an_edit_while_it_runs_is_said_and_makes_another_run(tmp_path):
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


def test_a_clip_replaced_while_it_runs_ends_and_the_new_one_runs(tmp_path):
    with Waiting(tmp_path / "pov", grace={"period": "100ms"}) as here:
        here.clip("a.mp4", frames=12)
        here.start()
        here.until(lambda: here.runs)
        here.clip("a.mp4", frames=7)
        here.let_go()
        here.wait_for("done", clip="a.mp4", count=2)
        assert [line["frames"] for line in here.events("checked")] == [12, 7]


def test_a_clip_deleted_while_it_runs_is_cancelled(tmp_path):
    with Waiting(tmp_path / "pov", grace={"period": "100ms"}) as here:
        clip = here.clip("a.mp4", frames=12)
        here.start()
        here.until(lambda: here.runs)
        clip.unlink()
        here.until(lambda: here.events("cancelled") or "cancel" in here.text(), patience=12)
        here.let_go()
        here.wait_state("a.mp4", "cancelled")
        assert videos(here) == []


def test_a_run_done_before_a_restart_is_remembered(alone):
    clip = done(alone.start())
    alone.stop()
    os.utime(clip)
    alone.start()
    alone.wait_for("done-already", clip="a.mp4")
    assert len(alone.events("started")) == 1


def test_a_rejected_json_is_taken_in_again_when_it_is_edited(alone):
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
