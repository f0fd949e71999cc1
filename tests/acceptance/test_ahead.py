"""What comes next is made ready while a worker generates, nothing is lost or frozen by it; and when it will come."""

from __future__ import annotations

import json

import pytest
from support.clips import make_clip
from support.waiting import Waiting, left_over, newest, sound

from povwatch.journal import open_reader


@pytest.fixture
def here(tmp_path):
    """The clip a.mp4 is being generated, and the copies of b.mp4 are there."""
    with Waiting(tmp_path / "pov") as here:
        here.start()
        here.clip("a.mp4")
        here.until(lambda: here.runs)
        here.clip("b.mp4", frames=7)
        prepared = here.wait_for("prepared", clip="b.mp4")
        assert prepared["message"].endswith("ahead of its turn)")
        yield here


def rooms(daemon, job=2):
    return list((daemon.outputs / ".povwatch").glob(f"{job}.*"))


def facts(daemon):
    with open_reader(daemon.state) as reader:
        return reader.fact("daemon")


def test_gpu_has_the_next_job_at_once(here):
    """The next job is prepared while the worker generates, and starts without preparing. One ahead for one worker."""
    waiting = newest(here, b"b.mp4")
    assert (waiting.state, waiting.attempts, waiting.run_id, waiting.spec_json) == ("queued", 0, None, None)
    here.clip("c.mp4")
    here.wait_for("queued", clip="c.mp4")
    here.let_go()
    here.wait_for("done", count=3)
    lines = [(line["event"], line["clip"]) for line in here.events() if line.get("clip")]
    between = lines[lines.index(("generated", "a.mp4")) : lines.index(("generated", "b.mp4"))]
    assert ("prepared", "b.mp4") not in between
    assert ("started", "b.mp4") in between
    assert lines.count(("prepared", "b.mp4")) == 1
    assert lines.index(("prepared", "c.mp4")) > lines.index(("generated", "a.mp4")), "one ahead for one worker"
    assert json.loads((here.outputs / "b/b_preview.json").read_text())["output"]["frames"] == 7
    assert here.stop() == 0
    assert left_over(here.folder) == []
    sound(here)


def test_edit_of_a_prepared_clip(here):
    """The JSON may be edited until the job is claimed; old copies are removed, and the edited JSON runs."""
    spec = here.inputs / "b.json"
    spec.write_text(spec.read_text().replace('"seed": 0', '"seed": 7'))
    here.wait_for("edited", clip="b.mp4")
    here.wait_for("queued", clip="b.mp4", count=2)
    here.wait_for("prepared", clip="b.mp4", count=2)
    here.until(lambda: len(rooms(here)) == 1, "what was made for the job before it was edited is gone")
    here.let_go()
    here.wait_for("done", clip="b.mp4")
    assert json.loads((here.outputs / "b/b_preview.json").read_text())["seed"] == 7
    here.stop()
    sound(here)


def test_replaced_clip_is_prepared_anew(here):
    make_clip(here.folder / "new.mp4", frames=5).rename(here.inputs / "b.mp4")
    here.wait_for("prepared", clip="b.mp4", count=2)
    here.let_go()
    here.wait_for("done", clip="b.mp4")
    assert json.loads((here.outputs / "b/b_preview.json").read_text())["output"]["frames"] == 5
    here.stop()
    sound(here)


def test_cancelled_clip_leaves_nothing(here):
    """The copies of a prepared clip are removed when it is cancelled."""
    assert rooms(here)
    assert here.ask("cancel", "b.mp4").done
    here.until(lambda: not rooms(here))
    here.stop()
    sound(here)


def test_stop_leaves_no_copy_and_no_charge(here):
    """A stop removes the copies that were made ahead, and charges no attempt."""
    assert here.stop() == 0
    assert rooms(here) == []
    assert newest(here, b"b.mp4").attempts == 0
    sound(here)


def test_crash_leaves_no_copy(here):
    """After kill -9 the copies are removed, each clip comes out once, and the prepared one is charged no crash."""
    here.kill()
    assert rooms(here)
    here.let_go()
    here.start()
    here.wait_for("done", count=2, start=2)
    assert newest(here, b"b.mp4").crashes == 0, "it did not run"
    here.stop()
    assert rooms(here) == []
    assert here.published() == ["a/a_preview.json", "a/a_preview.mp4", "b/b_preview.json", "b/b_preview.mp4"]
    sound(here)


def test_copies_that_vanished_are_made_again(here):
    """Copies that somebody deletes are made again, within the same attempt."""
    (room,) = rooms(here)
    for file in room.iterdir():
        file.unlink()
    here.let_go()
    here.wait_for("done", count=2)
    assert newest(here, b"b.mp4").attempts == 1
    here.stop()
    sound(here)


def test_estimates_from_earlier_runs(tmp_path):
    """Once a clip has run, status and why tell when the next ones are done."""
    with Waiting(tmp_path / "pov") as here:
        here.let_go()
        here.clip("a.mp4")
        assert here.once().returncode == 0
        (here.folder / "TOY_GO").unlink()
        here.start()
        here.clip("b.mp4")
        here.until(lambda: (job := here.peek("b.mp4")) and (job["progress"] or {}).get("eta") is not None)
        here.clip("c.mp4", frames=24)
        here.until(lambda: (job := newest(here, b"c.mp4")) and job.waiting_on == "turn")
        here.until(lambda: facts(here)["workers"][0]["job"] == newest(here, b"b.mp4").id)
        assert "generated in about" in " ".join(here.call("status").stdout.split())
        assert "generated in about" in " ".join(here.call("why", "c.mp4").stdout.split())
        assert " left" in here.call("why", "b.mp4").stdout
        here.stop()
