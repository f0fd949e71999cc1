"""The graces of a clip's looks: what their JSONs, their markers and their deletion mean."""

from __future__ import annotations

import json

import pytest
from support.clips import make_clip
from support.looks import PERIOD, Looks

from povwatch.core.changes import Hold

pytestmark = pytest.mark.usefixtures("forked_media_children")


@pytest.fixture
def here(tmp_path):
    made = Looks(tmp_path)
    made.copy()
    yield made
    made.close()
    made.no_bug()


def test_markers_and_errors_of_its_own(here):
    """Each look has its own markers and its own error file."""
    for look in ("night", "rain", "snow"):
        here.write(look)
    (here.inputs / "a.night.go").touch()
    (here.inputs / "a.rain.hold").touch()
    here.write("snow", text='{"name": "x", "video_path": "a.mp4", "promt": "x"}')
    here.rescan()
    here.until(1)
    assert here.states() == {"": "grace", "night": "queued", "rain": "grace", "snow": "grace"}
    assert {look: str(job.waiting_on) for look, job in here.jobs().items()} == {
        "": "grace",
        "night": "turn",
        "rain": "held",
        "snow": "invalid-spec",
    }
    assert "promt" in (here.inputs / "a.snow.error.txt").read_text()
    assert "povwatch go a.mp4@rain" not in here.jobs()["rain"].detail  # the marker holds it, and not a command
    here.write("snow")
    here.until(PERIOD + 1)
    assert not (here.inputs / "a.snow.error.txt").exists()
    assert here.states() == {"": "queued", "night": "queued", "rain": "grace", "snow": "queued"}


def test_deleted_look_is_withdrawn(here):
    """A look whose JSON is deleted is cancelled after a while; put back, it runs again."""
    file = here.write("night")
    here.rescan()
    text = file.read_text()
    file.unlink()
    here.until(3)
    assert here.states() == {"": "grace", "night": "grace"}
    here.until(5)
    assert here.states() == {"": "grace", "night": "cancelled"}
    assert here.jobs()["night"].detail == "its JSON was deleted"
    assert not file.exists()
    here.write("night", text=text)
    here.rescan()
    assert here.states() == {"": "grace", "night": "grace"}


def test_deleted_own_json_beside_a_look(here):
    """Deleting clip.json withdraws the clip's own look while another look has a JSON; put back, it runs again."""
    own = here.inputs / "a.json"
    here.write("night")
    here.rescan()
    text = own.read_text()
    own.unlink()
    here.until(10)
    assert here.states() == {"": "cancelled", "night": "grace"}
    assert here.jobs()[""].detail == "its JSON was deleted, and a.night.json is another look of the clip"
    assert not own.exists()
    here.until(PERIOD)
    assert here.states()["night"] == "queued"
    own.write_text(text)
    here.rescan()
    here.arrive()
    assert here.states() == {"": "grace", "night": "queued"}


def test_deleted_own_json_without_looks(here):
    """Without another look, a deleted clip.json is written again."""
    own = here.inputs / "a.json"
    own.unlink()
    here.until(10)
    assert own.exists()
    assert here.states() == {"": "grace"}


def test_renamed_clip_takes_its_looks_along(here):
    """The looks of a renamed clip go on under its new name, with their edits and holds."""
    here.write("night", seed=7)
    here.write("rain")
    (here.inputs / "a.rain.hold").touch()
    here.rescan()
    (here.inputs / "a.mp4").rename(here.inputs / "b.mp4")
    here.rescan()
    here.arrive()
    here.until(10)
    assert set(here.states(b"a.mp4").values()) == {"cancelled"}
    assert here.states(b"b.mp4") == {"": "grace", "night": "grace", "rain": "grace"}
    night = json.loads((here.inputs / "b.night.json").read_text())
    assert (night["video_path"], night["seed"]) == ("b.mp4", 7)
    here.until(PERIOD)
    assert here.states(b"b.mp4") == {"": "queued", "night": "queued", "rain": "grace"}


def test_variant_whose_json_is_another_clips(tmp_path):
    """A new clip gets no JSON of a look that is the JSON of another clip beside it."""
    here = Looks(tmp_path / "variants", spec={"variants": ["kitchen_night", "kitchen_rain"]})
    (here.inputs / "a.kitchen_night.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(4000))
    here.copy()
    assert here.states() == {"": "grace", "kitchen_rain": "grace"}
    assert sorted(file.name for file in here.inputs.glob("*.json")) == ["a.json", "a.kitchen_rain.json"]
    (left,) = [event for _, event in here.app.journal.events_named("look-left-out")]
    assert left.data == {"template": "kitchen_night", "spec": "a.kitchen_night.json", "holder": "a.kitchen_night.mp4"}
    here.close()
    here.no_bug()


def test_late_edit_of_a_look(here):
    """An edit of a look that has ended runs that look again, and no other."""
    here.write("night")
    here.rescan()
    for job in here.jobs().values():
        here.app.store.cancel(job, "no longer wanted")
    here.write("night", seed=4)
    here.rescan()
    assert here.states() == {"": "cancelled", "night": "grace"}


def test_looks_of_a_clip_that_is_held(tmp_path):
    """A clip that is held before it arrives holds the looks that are written for it, too."""
    here = Looks(tmp_path, spec={"variants": ["kitchen_night"]})
    make_clip(here.inputs / "a.mp4", frames=3, size=(64, 48))
    here.rescan()
    here.app.store.apply(here.jobs()[""], Hold())
    here.arrive()
    here.until(PERIOD + 1)
    assert {str(job.waiting_on) for job in here.jobs().values()} == {"held"}
    assert 'its JSON says "start": "hold"' in here.jobs()["kitchen_night"].detail
    here.close()
