"""A clip that is renamed in its grace, and the JSON that was edited beside it."""

from __future__ import annotations

import json
import shutil

import pytest
from support.daemons import Daemon

LONG = {"period": "1h"}


@pytest.fixture
def here(tmp_path):
    with Daemon(tmp_path / "pov", grace=LONG) as daemon:
        yield daemon.start()


def edited(daemon, name="a.mp4", **fields):
    """A clip whose JSON somebody has edited, in that JSON's own way of writing."""
    clip = daemon.clip(name)
    daemon.wait_for("grace", clip=name)
    spec = clip.with_suffix(".json")
    text = spec.read_text().replace('"seed": 0', '"seed":    77')
    for key, value in fields.items():
        text = text.replace('"guidance"', f'"{key}": {json.dumps(value)}, "guidance"')
    spec.write_text(text)
    daemon.wait_for("edited", clip=name)
    return clip


def test_its_json_goes_along(here):
    clip = edited(here)
    was = (here.inputs / "a.json").read_text()
    clip.rename(here.inputs / "kitchen.mp4")
    said = here.wait_for("spec-carried", clip="kitchen.mp4")
    assert (
        said["message"]
        == "kitchen.mp4: was a.mp4 before; its JSON goes along as kitchen.json; a.json stays where it is"
    )
    new = was.replace('"video_path": "a.mp4"', '"video_path": "kitchen.mp4"').replace(
        '"name": "a"', '"name": "kitchen"'
    )
    assert (here.inputs / "kitchen.json").read_text() == new
    assert (here.inputs / "a.json").read_text() == was
    here.wait_for("cancelled", clip="a.mp4")
    assert not here.events("spec-left")
    assert not here.events("spec-written", clip="kitchen.mp4")
    assert here.ask("go", "kitchen.mp4").done
    here.wait_for("done", clip="kitchen.mp4")
    assert json.loads((here.outputs / "kitchen/kitchen_preview.json").read_text())["spec"]["seed"] == 77


def test_it_goes_along_into_another_folder_and_keeps_a_hold(here):
    clip = edited(here)
    assert here.ask("hold", "a.mp4").done
    (here.inputs / "sub").mkdir()
    clip.rename(here.inputs / "sub" / "b.mov")
    here.wait_for("spec-carried", clip="sub/b.mov")
    here.wait_state("sub/b.mov", "grace", waiting_on="held")
    assert json.loads((here.inputs / "sub/b.json").read_text())["seed"] == 77


def test_it_goes_along_where_povwatch_was_stopped_meanwhile(here):
    clip = edited(here)
    here.stop()
    clip.rename(here.inputs / "kitchen.mp4")
    here.start()
    here.wait_for("spec-carried", clip="kitchen.mp4")
    assert json.loads((here.inputs / "kitchen.json").read_text())["seed"] == 77


def test_a_json_that_is_there_already_stays_and_the_other_is_told_of(here):
    clip = edited(here)
    mine = (here.inputs / "a.json").read_text().replace('"a.mp4"', '"b.mp4"').replace("77", "5")
    (here.inputs / "b.json").write_text(mine)
    clip.rename(here.inputs / "b.mp4")
    assert "its edited JSON stays: a.json" in here.wait_for("spec-left", clip="a.mp4")["message"]
    here.wait_for("grace", clip="b.mp4")
    assert (here.inputs / "b.json").read_text() == mine
    assert (here.inputs / "a.json").exists()


def test_one_that_is_open_in_an_editor_stays_too(here):
    clip = edited(here)
    (here.inputs / ".a.json.swp").touch()
    here.wait_for("editing", clip="a.mp4")
    clip.rename(here.inputs / "b.mp4")
    here.wait_for("spec-carried", clip="b.mp4")
    assert (here.inputs / "a.json").exists()
    assert json.loads((here.inputs / "b.json").read_text())["seed"] == 77


def test_a_copy_under_another_name_is_another_clip_and_the_json_is_told_of(here):
    clip = edited(here)
    shutil.copy2(clip, here.inputs / "b.mp4")
    here.wait_for("grace", clip="b.mp4")
    clip.unlink()
    here.wait_for("spec-left", clip="a.mp4", spec="a.json")
    assert json.loads((here.inputs / "b.json").read_text())["seed"] == 0


def test_a_second_name_for_a_clip_that_stays_takes_nothing_away(here):
    clip = edited(here)
    (here.inputs / "b.mp4").hardlink_to(clip)
    here.wait_for("grace", clip="b.mp4")
    assert json.loads((here.inputs / "b.json").read_text())["seed"] == 0
    assert json.loads((here.inputs / "a.json").read_text())["seed"] == 77


def test_a_json_that_nobody_edited_is_not_spoken_of(here):
    clip = here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    clip.unlink()
    here.wait_for("cancelled", clip="a.mp4")
    assert not here.events("spec-left")


def test_a_json_that_cannot_be_run_goes_along_as_it_is(here):
    clip = edited(here)
    (here.inputs / "a.json").write_text('{"seed": ')
    here.wait_for("invalid-spec", clip="a.mp4")
    clip.rename(here.inputs / "b.mp4")
    here.wait_for("invalid-spec", clip="b.mp4")
    assert (here.inputs / "b.json").read_text() == '{"seed": '


def seed_of(here, clip="n.mp4"):
    """The seed that a clip ran with."""
    assert here.ask("go", clip).done
    here.wait_for("done", clip=clip)
    stem = clip.removesuffix(".mp4").rpartition("/")[2]
    return json.loads(next(here.outputs.rglob(f"{stem}_preview.json")).read_text())["spec"]["seed"]


@pytest.mark.parametrize("first", ["clip", "json"])
@pytest.mark.parametrize("seen_between", [False, True])
def test_a_json_that_is_renamed_with_its_clip_is_its_json_still(here, first, seen_between):
    clip = edited(here)
    was = (here.inputs / "a.json").read_text()
    moves = [(clip, here.inputs / "n.mp4"), (here.inputs / "a.json", here.inputs / "n.json")]
    for number, (old, new) in enumerate(moves if first == "clip" else reversed(moves)):
        if number and seen_between:
            here.wait_for("spec-carried" if first == "clip" else "spec-rewritten")
        old.rename(new)
    said = here.wait_for("spec-mended", clip="n.mp4")
    assert said["message"] == "n.mp4: was a.mp4 before; n.json goes with it, and its video_path names n.mp4 now"
    expected = was.replace('"video_path": "a.mp4"', '"video_path": "n.mp4"').replace('"name": "a"', '"name": "n"')
    assert (here.inputs / "n.json").read_text() == expected
    assert seed_of(here) == 77
    assert not here.events("invalid-spec", clip="n.mp4")
    assert not list(here.inputs.glob(".*.old*"))


def test_both_may_go_to_another_folder_while_povwatch_is_stopped(here):
    clip = edited(here)
    assert here.ask("hold", "a.mp4").done
    here.stop()
    (here.inputs / "sub").mkdir()
    clip.rename(here.inputs / "sub/n.mp4")
    (here.inputs / "a.json").rename(here.inputs / "sub/n.json")
    here.start()
    here.wait_for("spec-mended", clip="sub/n.mp4")
    here.wait_state("sub/n.mp4", "grace", waiting_on="held")
    assert seed_of(here, "sub/n.mp4") == 77


def test_a_json_that_names_another_clip_that_is_there_is_not_mended(here):
    clip = edited(here)
    clip.rename(here.inputs / "n.mp4")
    here.wait_for("spec-carried", clip="n.mp4")
    here.wait_for("cancelled", clip="a.mp4")
    (here.inputs / "a.json").rename(here.inputs / "n.json.bak")
    here.clip("a.mp4")
    here.wait_for("spec-written", clip="a.mp4")
    (here.inputs / "n.json.bak").rename(here.inputs / "n.json")
    here.wait_for("invalid-spec", clip="n.mp4")
    assert json.loads((here.inputs / "n.json").read_text())["video_path"] == "a.mp4"
    assert not here.events("spec-mended")


def test_a_json_of_another_file_is_not_mended(here):
    edited(here)
    here.clip("b.mp4")
    here.wait_for("grace", clip="b.mp4")
    (here.inputs / "a.mp4").unlink()
    here.wait_for("cancelled", clip="a.mp4")
    (here.inputs / "a.json").rename(here.inputs / "b.json")
    here.wait_for("invalid-spec", clip="b.mp4")
    assert json.loads((here.inputs / "b.json").read_text())["video_path"] == "a.mp4"


def words(here, *call):
    return " ".join(here.call(*call).stdout.split())


def test_a_clip_that_a_file_held_says_how_it_is_let_go_under_its_new_name(here):
    clip = edited(here)
    (here.inputs / "a.hold").touch()
    here.wait_for("held", clip="a.mp4")
    clip.rename(here.inputs / "h.mp4")
    how = "a.hold held it under its name before, and only povwatch go h.mp4 lets it go now"
    assert here.wait_for("held", clip="h.mp4")["message"] == f"h.mp4: held: {how}"
    (here.inputs / "a.hold").unlink()
    here.stop()
    here.start()
    here.wait_state("h.mp4", "grace", waiting_on="held")
    assert how in words(here, "why", "h.mp4")
    assert how in words(here, "status")
    assert here.ask("go", "h.mp4").done
    here.wait_for("done", clip="h.mp4")


@pytest.mark.parametrize("steps", [("remove", "go"), ("go", "remove")])
def test_a_clip_whose_hold_file_is_renamed_after_it_says_both_that_it_takes(here, steps):
    clip = edited(here)
    (here.inputs / "a.hold").touch()
    here.wait_for("held", clip="a.mp4")
    clip.rename(here.inputs / "h.mp4")
    here.wait_for("held", clip="h.mp4")
    (here.inputs / "a.hold").rename(here.inputs / "h.hold")
    how = "h.hold is there, and a.hold held it under its name before; remove that file, and then: povwatch go h.mp4"
    here.until(lambda: here.peek("h.mp4")["detail"] == how)
    assert how in words(here, "why", "h.mp4")
    for step in steps:
        if step == "remove":
            (here.inputs / "h.hold").unlink()
        else:
            here.ask("go", "h.mp4")
    here.wait_for("done", clip="h.mp4")
