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


def test_json_follows_a_renamed_clip(here):
    """The edited JSON of a renamed clip is copied under its new name, with its fields and its form."""
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


def test_json_follows_into_another_folder(here):
    """The JSON follows a clip into another folder, and a hold stays."""
    clip = edited(here)
    assert here.ask("hold", "a.mp4").done
    (here.inputs / "sub").mkdir()
    clip.rename(here.inputs / "sub" / "b.mov")
    here.wait_for("spec-carried", clip="sub/b.mov")
    here.wait_state("sub/b.mov", "grace", waiting_on="held")
    assert json.loads((here.inputs / "sub/b.json").read_text())["seed"] == 77


def test_json_follows_a_rename_while_stopped(here):
    """The JSON follows a clip that is renamed while povwatch is stopped."""
    clip = edited(here)
    here.stop()
    clip.rename(here.inputs / "kitchen.mp4")
    here.start()
    here.wait_for("spec-carried", clip="kitchen.mp4")
    assert json.loads((here.inputs / "kitchen.json").read_text())["seed"] == 77


def test_existing_json_stays(here):
    """A JSON that is there already stays, and the log names the one that is left behind."""
    clip = edited(here)
    mine = (here.inputs / "a.json").read_text().replace('"a.mp4"', '"b.mp4"').replace("77", "5")
    (here.inputs / "b.json").write_text(mine)
    clip.rename(here.inputs / "b.mp4")
    assert "its edited JSON stays: a.json" in here.wait_for("spec-left", clip="a.mp4")["message"]
    here.wait_for("grace", clip="b.mp4")
    assert (here.inputs / "b.json").read_text() == mine
    assert (here.inputs / "a.json").exists()


def test_open_json_stays_too(here):
    """A JSON that is open in an editor is copied, and stays where it is."""
    clip = edited(here)
    (here.inputs / ".a.json.swp").touch()
    here.wait_for("editing", clip="a.mp4")
    clip.rename(here.inputs / "b.mp4")
    here.wait_for("spec-carried", clip="b.mp4")
    assert (here.inputs / "a.json").exists()
    assert json.loads((here.inputs / "b.json").read_text())["seed"] == 77


def test_copied_clip_is_another_clip(here):
    """A copy under another name has a JSON of its own; the edited one of the deleted clip is reported."""
    clip = edited(here)
    shutil.copy2(clip, here.inputs / "b.mp4")
    here.wait_for("grace", clip="b.mp4")
    clip.unlink()
    here.wait_for("spec-left", clip="a.mp4", spec="a.json")
    assert json.loads((here.inputs / "b.json").read_text())["seed"] == 0


def test_second_name_takes_nothing_away(here):
    """A hard link to a clip that stays is a clip of its own and takes nothing from it."""
    clip = edited(here)
    (here.inputs / "b.mp4").hardlink_to(clip)
    here.wait_for("grace", clip="b.mp4")
    assert json.loads((here.inputs / "b.json").read_text())["seed"] == 0
    assert json.loads((here.inputs / "a.json").read_text())["seed"] == 77


def test_unedited_json_is_not_mentioned(here):
    """The JSON of a deleted clip is not mentioned if nobody edited it."""
    clip = here.clip("a.mp4")
    here.wait_for("grace", clip="a.mp4")
    clip.unlink()
    here.wait_for("cancelled", clip="a.mp4")
    assert not here.events("spec-left")


def test_invalid_json_follows_as_it_is(here):
    """A JSON that cannot be run follows its clip byte for byte."""
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
def test_json_renamed_with_its_clip(here, first, seen_between):
    """A JSON that is renamed with its clip, before it or after it, stays its JSON with the video_path mended."""
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


def test_both_moved_while_stopped(here):
    """A clip and its JSON may go to another folder while povwatch is stopped, and a hold stays."""
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


def test_json_of_a_present_clip_stays(here):
    """A JSON that names another clip which is there is invalid, and is not mended."""
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


def test_json_of_another_file_is_not_mended(here):
    """A JSON of a deleted clip that is put beside another video is invalid, and is not mended."""
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


def test_held_clip_says_its_way_out(here):
    """A clip that a file held under its former name says how it is let go now, also after a restart."""
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
def test_renamed_hold_file(here, steps):
    """A clip whose hold file is renamed after it says both things that it takes, and takes them in any order."""
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
