"""The JSON beside a clip: written, edited, broken, mended, deleted."""

from __future__ import annotations

import json
import os

import pytest
from support.clips import make_clip
from support.daemons import Corner, Daemon
from support.waiting import Waiting


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Waiting(tmp_path_factory.mktemp("shared") / "pov", load=False, grace={"period": "1h"}) as daemon:
        yield daemon.start()


@pytest.fixture
def here(shared, request):
    """A folder of its own in a daemon that the tests here share."""
    return Corner(shared, request.node.name)


@pytest.fixture
def alone(tmp_path):
    """A daemon of its own, not yet started."""
    with Daemon(tmp_path / "pov", grace={"period": "1h"}) as daemon:
        yield daemon


def edit(file, **changes):
    """Change some fields, as an editor saves: a new file renamed over the old one."""
    spec = json.loads(file.read_text())
    spec.update(changes)
    new = file.with_name(".new")
    new.write_text(json.dumps(spec, indent=4))
    new.rename(file)


def test_written_in_upstreams_shape(here):
    """A new JSON has upstream's fields in upstream's order."""
    here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    text = (here.inputs / "a.json").read_text()
    shape = ["name", "video_path", "prompt", "negative_prompt", "seed", "guidance", "edge"]
    assert list(json.loads(text)) == shape
    assert json.loads(text)["video_path"] == "a.mp4"
    assert json.loads(text)["edge"] == {"control_weight": 1.0}


def test_existing_json_is_never_overwritten(here):
    theirs = {"name": "mine", "prompt": "A red kitchen.", "video_path": "a.mp4", "edge": {"control_weight": 0.5}}
    (here.inputs / "a.json").write_text(json.dumps(theirs))
    here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    here.ask("go", "a.mp4")
    here.wait_for("queued", clip="a.mp4")
    assert json.loads((here.inputs / "a.json").read_text()) == theirs
    assert not here.events("spec-written")


def test_edit_starts_the_grace_anew(here):
    """An edit starts the grace anew. A touch does not."""
    here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    spec = here.inputs / "a.json"
    os.utime(spec)
    edit(spec)  # the same values in another form is another content to a person who edits
    here.wait_for("edited", clip="a.mp4")
    os.utime(spec)
    (here.inputs / "a.hold").touch()
    here.wait_for("held", clip="a.mp4")
    assert len(here.events("edited")) == 1


def test_edit_in_the_grace_is_what_runs(alone):
    """What is edited in the grace runs and is in the manifest; the user's go file stays."""
    alone.clip("a.mp4")
    alone.start().wait_for("grace", clip="a.mp4")
    edit(alone.inputs / "a.json", prompt="Two hands knead dough.", seed=7)
    alone.wait_for("edited", clip="a.mp4")
    (alone.inputs / "a.go").touch()
    alone.wait_for("done", clip="a.mp4")
    manifest = json.loads((alone.outputs / "a" / "a_preview.json").read_text())
    assert "Two hands knead dough." in json.dumps(manifest)
    assert alone.show("a.mp4")["spec"]["seed"] == 7
    assert (alone.inputs / "a.go").exists(), "markers are the user's"


def test_invalid_json_stops_the_clock(alone):
    """An invalid JSON stops the grace and is told with line and field; the mended one goes on."""
    alone.configure(grace={"period": "3s"})
    alone.clip("a.mp4")
    alone.start().wait_for("grace", clip="a.mp4")
    spec, error = alone.inputs / "a.json", alone.inputs / "a.error.txt"
    good = spec.read_text()
    spec.write_text(good.replace('"prompt":', '"prompt"', 1))
    said = alone.wait_for("invalid-spec", clip="a.mp4")
    assert alone.peek("a.mp4")["waiting_on"] == "invalid-spec"
    alone.until(error.exists)
    line = next(n for n, text in enumerate(good.splitlines(), 1) if '"prompt"' in text)
    assert f"line {line}" in error.read_text()
    assert "column" in error.read_text()
    assert "a.error.txt" in said["message"]
    spec.write_text(good.replace('"guidance": 3', '"guidance": 30'))
    alone.wait_for("invalid-spec", clip="a.mp4", count=2)
    alone.until(lambda: "guidance" in error.read_text())
    assert "7" in error.read_text(), "the allowed values are named"
    spec.write_text(good.replace('"guidance"', '"guidence"'))
    alone.wait_for("invalid-spec", clip="a.mp4", count=3)
    alone.until(lambda: "guidance" in error.read_text())
    assert "invalid-spec" in alone.call("why", "a.mp4").stdout
    answer = alone.ask("go", "a.mp4")
    assert "JSON" in answer.text
    spec.write_text(good)
    alone.wait_for("valid-spec", clip="a.mp4")
    alone.until(lambda: not error.exists())
    alone.wait_for("queued", clip="a.mp4")


def test_json_copied_from_another_clip(here):
    """A JSON that names another clip's video is invalid."""
    here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    (here.inputs / "b.json").write_bytes((here.inputs / "a.json").read_bytes())
    here.clip("b.mp4")
    said = here.wait_for("invalid-spec", clip="b.mp4")
    assert "video_path" in said["problem"]
    assert "b.mp4" in (here.inputs / "b.error.txt").read_text()


def test_open_editor_stops_the_clock(alone):
    """The grace stands still while the JSON is open in an editor."""
    alone.configure(grace={"period": "2s"})
    swap = alone.inputs / ".a.json.swp"
    swap.write_bytes(b"b0VIM")
    alone.clip("a.mp4")
    alone.start().wait_for("editing", clip="a.mp4")
    assert alone.peek("a.mp4")["waiting_on"] == "editing"
    swap.unlink()
    alone.wait_state("a.mp4", "grace", waiting_on="grace")
    alone.wait_for("queued", clip="a.mp4")


def test_deleted_json_is_written_anew(here):
    """A JSON that is deleted in the grace is written anew, and the grace starts again."""
    here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    spec = here.inputs / "a.json"
    spec.unlink()
    here.wait_for("spec-rewritten", clip="a.mp4")
    assert spec.exists()
    here.wait_for("grace", clip="a.mp4", count=2)
    here.ask("go", "a.mp4")
    here.wait_for("queued", clip="a.mp4")


def test_deleted_json_of_a_queued_clip(tmp_path):
    """A queued clip whose JSON is deleted gets a new one, and is queued again before it runs."""
    with Waiting(tmp_path / "pov", load=False) as here:
        here.clip("a.mp4")
        here.start().wait_for("queued", clip="a.mp4")
        (here.inputs / "a.json").unlink()
        here.let_load()
        here.let_go()
        here.wait_for("spec-rewritten", clip="a.mp4")
        here.wait_for("done", clip="a.mp4")
        order = [e["event"] for e in here.events(clip="a.mp4") if e["event"] in {"spec-rewritten", "queued", "started"}]
        assert order == ["queued", "spec-rewritten", "queued", "started"]


def test_edit_in_queue_goes_back_to_grace(tmp_path):
    """An edit of a queued clip takes it back to the grace, and the edited JSON runs."""
    with Waiting(tmp_path / "pov", load=False) as here:
        here.clip("a.mp4")
        here.start().wait_for("queued", clip="a.mp4")
        edit(here.inputs / "a.json", seed=5)
        here.wait_for("edited", clip="a.mp4")
        here.let_load()
        here.let_go()
        here.wait_for("done", clip="a.mp4")
        assert len(here.events("queued")) == 2
        assert here.show("a.mp4")["spec"]["seed"] == 5
        assert not here.events("late-edit")


def test_deleted_clip_leaves_nothing_of_ours(here):
    """A clip that is deleted is cancelled, and its error file is removed."""
    here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    (here.inputs / "a.json").write_text("{")
    here.wait_for("invalid-spec", clip="a.mp4")
    here.until((here.inputs / "a.error.txt").exists)
    (here.inputs / "a.json").unlink()
    (here.inputs / "a.mp4").unlink()
    said = here.wait_for("cancelled", clip="a.mp4")
    assert "deleted" in said["why"]
    assert sorted(path.name for path in here.inputs.iterdir()) == []
    assert here.peek("a.mp4")["state"] == "cancelled"


def test_clip_back_within_seconds(here):
    """A clip that goes away and is back within seconds is neither cancelled nor seen twice."""
    clip = here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    aside = here.folder / "aside.mp4"
    clip.rename(aside)
    (here.inputs / "b.mp4").write_bytes(aside.read_bytes())
    here.wait_for("seen", clip="b.mp4")
    aside.rename(clip)
    here.ask("go", "a.mp4")
    here.wait_for("queued", clip="a.mp4")
    assert not here.events("cancelled")
    assert len(here.events("seen", clip="a.mp4")) == 1


def test_new_video_under_a_name_arrives_anew(here):
    """Another video under the same name arrives again, with its own frames."""
    here.clip("a.mp4", frames=12)
    here.wait_for("grace", clip="a.mp4")
    here.clip("a.mp4", frames=20)
    here.wait_for("grace", clip="a.mp4", count=2)  # arrived is said before it is journalled
    assert [line["frames"] for line in here.events("arrived")] == [12, 20]
    assert here.show("a.mp4")["source"]["frames"] == 20


def test_templates_by_folder(alone):
    """The template of a new JSON is chosen by folder, also from a folder of one's own."""
    templates = alone.folder / "mine"
    templates.mkdir()
    (templates / "garden.toml").write_text('prompt = "Hands in the soil."\nnegative_prompt = "snow"\n')
    alone.configure(
        grace={"period": "1h"},
        spec={"templates": "mine", "template": "garden", "folders": {"car/**": "driving"}},
    )
    alone.clip("a.mp4")
    alone.clip("car/long/a.mp4")
    alone.start()
    alone.wait_for("grace", clip="a.mp4")
    alone.wait_for("grace", clip="car/long/a.mp4")
    assert json.loads((alone.inputs / "a.json").read_text())["prompt"] == "Hands in the soil."
    driving = json.loads((alone.inputs / "car/long/a.json").read_text())
    assert driving["prompt"] != "Hands in the soil."
    assert alone.events("spec-written", clip="car/long/a.mp4", template="driving")


def test_priority_and_start_in_the_json(tmp_path):
    """The JSON's "priority" and "start" decide the order, start at once, and hold."""
    with Waiting(tmp_path / "pov", load=False, grace={"period": "1h"}) as here:
        made = make_clip(here.folder / "made.mp4")
        for name, ours in {
            "first": {"start": "now"},
            "urgent": {"start": "now", "priority": 5},
            "held": {"start": "hold"},
        }.items():
            spec = {"name": name, "prompt": "x", "video_path": f"{name}.mp4", "edge": {}, "povwatch": ours}
            (here.inputs / f"{name}.json").write_text(json.dumps(spec))
            here.copy(made, f"{name}.mp4")
        here.start()
        for name in ("first", "urgent"):
            here.wait_for("queued", clip=f"{name}.mp4")
        here.let_load()
        here.let_go()
        here.wait_for("done", clip="first.mp4")
        assert [line["clip"] for line in here.events("started")] == ["urgent.mp4", "first.mp4"]
        assert here.wait_for("held", clip="held.mp4")["by"].endswith("take that out, or: povwatch go held.mp4")
        assert here.ask("go", "held.mp4").done
        here.wait_for("done", clip="held.mp4")
        assert here.peek("urgent.mp4")["priority"] == 5
