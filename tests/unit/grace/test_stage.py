"""From arrived to queued, with time passed in: real files, a real journal, and a clock that stands until it is set."""

from __future__ import annotations

import dataclasses
import json
import os

import pytest
from structlog.testing import capture_logs
from support.clip_in_grace import GRACE, QUEUED, ClipInGrace, inspected
from support.clips import make_clip
from support.put import put

from povwatch.cli.specs import Outcome, SpecWriter
from povwatch.core.events import SENTENCES
from povwatch.core.job import JobState, Waiting
from povwatch.engines.annotate import presence
from povwatch.spec.choices import draw
from povwatch.spec.inputs_folder import InputsRefused
from povwatch.spec.prompts import configured_templates

PERIOD, LIMIT = 120.0, 3600.0


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    return inspected(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def clip(tmp_path, info):
    made = ClipInGrace(tmp_path, info)
    yield made
    made.close()
    made.no_bug()


def test_queued_when_its_grace_is_over(clip):
    clip.admit()
    clip.until(1000 + PERIOD - 1)
    assert clip.at() == GRACE
    clip.until(1000 + PERIOD + 1)
    assert clip.at() == QUEUED
    assert clip.grace.spec_of(clip.job).seed == 0


def test_edit_starts_it_anew_and_runs(clip):
    """An edit starts the grace anew and goes into the run."""
    clip.admit()
    clip.until(1100)
    clip.edit(seed=9)
    clip.until(1100 + PERIOD - 1)
    assert clip.at() == GRACE
    clip.until(1100 + PERIOD + 1)
    assert clip.at() == QUEUED
    assert clip.grace.spec_of(clip.job).seed == 9


def test_rest_survives_a_kill(clip):
    clip.admit()
    clip.until(1060)
    clip.restart(away=5)
    clip.until(1000 + PERIOD - 1)
    assert clip.at() == GRACE
    clip.until(1000 + PERIOD + 12)  # what is left is noted every ten seconds
    assert clip.at() == QUEUED


def test_thirty_seconds_after_a_long_stop(clip):
    """After a long stop, thirty seconds of the grace are left."""
    clip.admit()
    clip.until(1060)
    clip.restart(away=86400)
    clip.until(1060 + 86400 + 29)
    assert clip.at() == GRACE
    clip.until(1060 + 86400 + 31)
    assert clip.at() == QUEUED


@pytest.mark.parametrize("way", ["held", "editing", "invalid"])
def test_standing_grace_stands_over_a_stop(clip, way):
    """A grace that stands still stands still while povwatch is off, too."""
    clip.admit()
    clip.until(1020)
    lock = clip.inputs / ".a.json.swp"
    if way == "held":
        (clip.inputs / "a.hold").touch()
    elif way == "editing":
        lock.touch()
        os.utime(lock, (clip.clock.wall(), clip.clock.wall()))
    else:
        right = clip.spec.read_text()
        clip.spec.write_text("{")
    clip.until(1030)
    clip.restart(away=LIMIT / 2)
    clip.until(clip.clock.now + 10)
    if way == "invalid":
        clip.spec.write_text(right)
        (left, because) = (PERIOD, "an edit starts it anew")
    else:
        (clip.inputs / "a.hold").unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
        (left, because) = (PERIOD - 20, "it stood still from then on")
    begun = clip.clock.now
    clip.until(begun + left - 2)
    assert clip.at() == GRACE, because
    clip.until(begun + left + 2)
    assert clip.at() == QUEUED, because


def test_queued_after_a_restart(clip):
    """A queued clip is still queued after a restart."""
    clip.admit()
    clip.until(1000 + PERIOD + 1)
    clip.restart(away=100)
    clip.until(clip.clock.now + 2)
    assert clip.at() == QUEUED
    assert clip.grace.spec_of(clip.job) is not None


def test_time_away_does_not_count(clip):
    """Time while the folder was away does not count."""
    clip.admit()
    clip.until(1010)
    clip.clock.now = 5000
    clip.grace.inputs_back(5000)
    clip.until(5000 + PERIOD - 12)
    assert clip.at() == GRACE
    clip.until(5000 + PERIOD - 8)
    assert clip.at() == QUEUED


def test_invalid_json_is_given_up(clip):
    """An invalid JSON is rejected after the longest grace."""
    clip.admit()
    clip.spec.write_text("{")
    clip.until(1000 + LIMIT - 1)
    assert clip.at() == (JobState.GRACE, Waiting.INVALID_SPEC)
    clip.until(1000 + LIMIT + 2)
    assert clip.job.state is JobState.REJECTED
    assert list(clip.store.ended) == [clip.first.id]
    assert clip.error.exists()


def test_invalid_time_survives_a_restart(clip):
    """How long a JSON was invalid survives a restart."""
    clip.admit()
    clip.spec.write_text("{")
    clip.until(1000 + LIMIT / 2)
    clip.restart(away=LIMIT / 4)
    clip.until(1000 + LIMIT - 2)
    assert clip.at() == (JobState.GRACE, Waiting.INVALID_SPEC)
    clip.until(1000 + LIMIT + 2)
    assert clip.job.state is JobState.REJECTED


def test_reference_that_comes_mends_a_json(clip):
    """A named file that comes makes its JSON valid."""
    clip.admit()
    clip.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"})
    clip.until(1005)
    assert clip.at() == (JobState.GRACE, Waiting.INVALID_SPEC)
    assert "edge.mp4" in clip.error.read_text()
    make_clip(clip.inputs / "edge.mp4")
    clip.measured(1020)
    assert clip.at() == GRACE
    assert not clip.error.exists()


def test_json_missing_for_a_moment(clip):
    """A JSON that is missing for a moment is not written anew."""
    clip.admit()
    clip.until(1010)
    mine = clip.spec.read_bytes()
    clip.spec.unlink()
    clip.until(1011.5)
    assert not clip.spec.exists()
    clip.spec.write_bytes(mine)
    clip.until(1000 + PERIOD + 1)
    assert clip.at() == QUEUED


def test_missing_json_is_not_claimed(clip):
    """A job whose JSON is missing is not claimed, and goes back to its grace."""
    clip.admit()
    clip.until(1000 + PERIOD + 1)
    clip.spec.unlink()
    assert clip.grace.spec_of(clip.job) is None
    clip.until(clip.clock.now + 3)
    assert clip.spec.exists()
    assert clip.at() == GRACE


def test_no_json_for_a_gone_clip(clip):
    clip.admit()
    (clip.inputs / "a.mp4").unlink()
    clip.spec.unlink()
    clip.until(1030)
    assert not clip.spec.exists()


def test_refusing_folder_stops_the_clock(clip, monkeypatch):
    """A folder that refuses the JSON is told, and the clock waits."""

    def refuse(path, data):
        raise InputsRefused("May not write inputs/a.json: Permission denied.", "chmod g+w.")

    monkeypatch.setattr(clip.app.folder, "write_spec", refuse)
    clip.admit()
    clip.until(1000 + 2 * PERIOD)
    assert clip.at() == (JobState.GRACE, Waiting.INPUTS_REFUSED)
    assert "Permission denied" in clip.job.detail
    monkeypatch.undo()
    clip.until(1001 + 2 * PERIOD)
    assert clip.at() == GRACE
    clip.until(1000 + 3 * PERIOD - 2)
    assert clip.at() == GRACE
    clip.until(1000 + 3 * PERIOD + 2)
    assert clip.at() == QUEUED


@pytest.mark.parametrize("by", ["marker", "command", "json"])
def test_who_holds_it_is_told(clip, by):
    """Who holds a clip is told, and only the JSON gives way to a go file."""
    clip.admit()
    if by == "marker":
        (clip.inputs / "a.hold").touch()
    elif by == "json":
        clip.edit(povwatch={"start": "hold"})
    else:
        put(clip.store, clip.job, "request", hold=True)
    clip.until(1002)
    assert clip.at() == (JobState.GRACE, Waiting.HELD)
    said = {
        "marker": "a.hold is there; remove that file to let the clip go",
        "command": "`povwatch hold` asked for it; povwatch go a.mp4 lets it go",
        "json": 'its JSON says "start": "hold"; take that out, or: povwatch go a.mp4',
    }
    assert clip.job.detail == said[by]
    (clip.inputs / "a.go").touch()
    clip.until(1004)
    assert clip.at() == (QUEUED if by == "json" else (JobState.GRACE, Waiting.HELD))


def test_fault_of_ours_costs_one_clip(clip, monkeypatch):
    """An exception in one clip's look is reported."""
    clip.admit()
    monkeypatch.setattr(clip.app.folder, "markers", lambda _: 1 / 0)
    clip.grace.tick(1001)
    assert [type(error) for error in clip.unforeseen] == [ZeroDivisionError]
    clip.unforeseen.clear()


@pytest.mark.parametrize(
    "name", [b"a.json", b"a.go", b"a.hold", b".a.json.swp", b".#a.json", b".~lock.a.json#", b"a.error.txt"]
)
def test_change_beside_brings_the_next_look(clip, name):
    """A change of a file beside a clip makes its next look come at once."""
    clip.admit()
    clip.until(1010)
    waits = clip.grace.next_deadline()
    assert waits > 1010
    clip.grace.beside_changed(b"elsewhere/" + name)
    clip.grace.beside_changed(b"b.json")
    assert clip.grace.next_deadline() == waits
    clip.grace.beside_changed(name)
    assert clip.grace.next_deadline() <= 1010 or name == b"a.error.txt"


def test_clip_among_many_starts_on_time(clip, monkeypatch):
    """A clip among many starts on time, though not all are looked at in each second."""
    monkeypatch.setattr("povwatch.grace.stage.CHECKS_A_SECOND", 0.01)
    clip.admit()
    clip.until(1000 + PERIOD + 0.1)
    assert clip.at() == QUEUED


@pytest.mark.parametrize("by", ["marker", "command", "json"])
def test_held_clip_at_a_restart(clip, by):
    """A held clip is announced as held at a restart, not with a deadline."""
    clip.admit()
    if by == "marker":
        (clip.inputs / "a.hold").touch()
    elif by == "json":
        clip.edit(povwatch={"start": "hold"})
    else:
        put(clip.store, clip.job, "request", hold=True)
    clip.until(1002)
    with capture_logs() as said:
        clip.restart(away=5)
        clip.until(clip.clock.now + 2)
    assert [line["event"] for line in said] == ["held"]


def test_held_by_another_way(clip):
    """A clip that a command holds, too, is still held; so it is when its marker is removed."""
    clip.admit()
    clip.edit(povwatch={"start": "hold"})
    clip.until(1002)
    with capture_logs() as said:
        put(clip.store, clip.job, "request", hold=True)
        clip.until(1004)
        (clip.inputs / "a.hold").touch()
        clip.grace.check_soon(clip.job.id)
        clip.until(1006)
        (clip.inputs / "a.hold").unlink()
        clip.grace.check_soon(clip.job.id)
        clip.until(1008)
    assert {line["event"] for line in said} == {"held"}
    by = "`povwatch hold` asked for it"
    assert [line["by"].partition(";")[0] for line in said] == [by, f"a.hold is there, and {by}", by]


def test_running_clock_at_a_restart(clip):
    """A clip whose clock runs is announced once at a restart, with its deadline."""
    clip.admit()
    clip.until(1010)
    with capture_logs() as said:
        clip.restart(away=5)
        clip.until(clip.clock.now + 5)
    assert [(line["event"], line["deadline"]) for line in said] == [("grace", "1120")]


def test_held_from_the_first(clip):
    """A clip that is held from the first gets no deadline."""
    (clip.inputs / "a.hold").touch()
    with capture_logs() as said:
        clip.admit()
        clip.until(1002)
    assert [line["event"] for line in said] == ["arrived", "spec-written", "held"]


def test_editor_closed_without_a_change(clip):
    """An editor that is closed without a change gives a new deadline."""
    clip.admit()
    clip.until(1020)
    lock = clip.inputs / ".a.json.swp"
    lock.touch()
    os.utime(lock, (clip.clock.wall(), clip.clock.wall()))
    with capture_logs() as said:
        clip.until(1060)
        assert clip.at() == (JobState.GRACE, Waiting.EDITING)
        assert clip.job.detail == ".a.json.swp is there"
        lock.unlink()
        clip.until(1062)
    editing, closed = said
    assert (editing["event"], editing["lock"]) == ("editing", b".a.json.swp")
    assert closed["event"] == "editor-closed"
    assert 1160 <= float(closed["deadline"]) <= 1161
    assert clip.at() == GRACE


def test_editor_closed_after_a_save(clip):
    """An editor that saved is not said to have changed nothing."""
    clip.admit()
    lock = clip.inputs / ".a.json.swp"
    lock.touch()
    os.utime(lock, (clip.clock.wall(), clip.clock.wall()))
    clip.until(1020)
    clip.edit(seed=9)
    clip.until(1040)
    with capture_logs() as said:
        lock.unlink()
        clip.until(1062)
    assert [line["event"] for line in said] == ["editor-closed"]
    assert "without a change" not in SENTENCES["editor-closed"][1]


@pytest.mark.parametrize("queued", [False, True])
def test_half_written_json_is_no_mistake(clip, queued):
    """A JSON that is seen half written is no mistake: it is looked at again first."""
    clip.admit()
    seen = 1000 + PERIOD + 1 if queued else 1050
    clip.until(seen)
    whole = clip.spec.read_text()
    with capture_logs() as said:
        clip.spec.write_text(whole[: len(whole) // 2])
        clip.grace.beside_changed(b"a.json")
        clip.grace.tick(clip.clock.now)
        if queued:
            assert clip.grace.spec_of(clip.job) is None
        assert not clip.error.exists()
        clip.spec.write_text(whole.replace('"seed": 0', '"seed": 9'))
        clip.until(seen + 2)
    assert [line["event"] for line in said] == ["edited"]
    assert not clip.error.exists()
    clip.until(seen + PERIOD - 1)
    assert clip.at() == GRACE
    clip.until(seen + PERIOD + 2)
    assert clip.grace.spec_of(clip.job).seed == 9


def test_uneven_clip_has_no_one_rate(clip, info):
    """A clip with a variable rate is not said to have one."""
    for constant, pace in ((True, "30 frames a second"), (False, "about 30 frames a second, not evenly spaced")):
        clip.info = dataclasses.replace(info, constant=constant)
        with capture_logs() as said:
            clip.admit()
        assert [line["pace"] for line in said if line["event"] == "arrived"] == [pace]
        put(clip.store, clip.job, "changed", state=JobState.ARRIVING)


def test_edit_back_to_a_published_run(clip):
    """An edit in the queue to what was published before is done, even if go was said."""
    clip.admit()
    clip.until(1000 + PERIOD + 1)
    spec_hash = clip.grace.spec_of(clip.job).digest()
    for state in (JobState.RUNNING, JobState.CHECKING, JobState.PUBLISHING, JobState.DONE):
        to = {"run_id": "r", "engine": clip.app.choice.kind, "spec_hash": spec_hash, "output": "a/a_preview.mp4"}
        done = clip.move(clip.job, "moved", state=state, **to)
    (clip.inputs / "a.go").touch()
    clip.edit(seed=9)
    clip.store.add([(b"a.mp4", done.source_stat)])
    clip.admit()
    assert clip.at() == QUEUED
    clip.edit(seed=7)
    assert clip.grace.spec_of(clip.job).seed == 7
    assert clip.at() == QUEUED
    clip.edit(seed=0)
    assert clip.grace.spec_of(clip.job) is None
    assert (clip.job.id, clip.job.state, clip.job.output) == (done.id + 1, JobState.DONE, "a/a_preview.mp4")
    assert list(clip.store.ended.values())[-1] == clip.job


@pytest.fixture
def sampled(tmp_path, info):
    """A clip whose template has choices."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "looks.toml").write_text(
        'prompt = "{light: sun|overcast|lamp|neon} on {surface: oak|steel|linen}"\n'
        'negative_prompt = "no {light}, {stem}"\n[edge]\n[vis]\ncontrol_weight = 0.2\n'
    )
    made = ClipInGrace(tmp_path, info, spec={"template": "looks", "templates": str(tmp_path / "mine")})
    yield made
    made.close()
    made.no_bug()


def test_choices_are_drawn_for_the_clip(sampled, info):
    """A JSON has what is drawn for its clip's content; written again, without a daemon too, it is the same."""
    sampled.admit()
    written = sampled.spec.read_bytes()
    data = json.loads(written)
    templates = configured_templates(sampled.config)
    drawn = draw(templates["looks"].choices, seed=0, digest=info.sha256, look="")
    assert data["povwatch"] == {"drawn": drawn}
    assert data["prompt"] == f"{drawn['light']} on {drawn['surface']}"
    assert data["negative_prompt"] == f"no {drawn['light']}, a"
    assert (data["edge"], data["vis"]) == ({}, {"control_weight": 0.2})
    sampled.spec.unlink()
    assert SpecWriter(sampled.config, templates).write(b"a.mp4", b"a", force=False)[0] is Outcome.WRITTEN
    assert sampled.spec.read_bytes() == written
    sampled.spec.unlink()
    sampled.until(1005)
    sampled.restart(away=1)
    sampled.until(sampled.clock.now + 5)
    assert sampled.spec.read_bytes() == written


def test_edited_draw_is_what_runs(sampled):
    """An edited prompt runs as it is, and its job knows which draws it still has."""
    sampled.admit()
    drawn = json.loads(sampled.spec.read_text())["povwatch"]["drawn"]
    sampled.edit(prompt="candles on oak", povwatch={"drawn": {"light": "candles", "surface": "brass"}})
    with capture_logs() as logs:
        sampled.until(1000 + 2 * PERIOD)
    (warning,) = [log["warning"] for log in logs if log["event"] == "lint"]
    assert warning.startswith("povwatch.drawn says surface: brass, and no prompt says so any more")
    spec = sampled.grace.spec_of(sampled.job)
    assert spec.drawn() == {"light": "candles"} != drawn
    assert "povwatch" not in spec.upstream()


PRESETS = {
    ("cosmos", "lighting"): ["vis is asked for, but the model that is loaded takes edge only"],
    ("diffusers", "lighting"): ["vis is asked for, and engine.controls has edge only"],
    ("diffusers", "background"): [
        "seg.control_path is missing, and IDEA-Research/grounding-dino-base, which computes seg, is not here",
        "seg.mask_path names a file that is not there",
        "edge.control_path names a file that is not there",
    ],
    ("cosmos", "objects"): ["seg.mask_path names a file that is not there"],
}


@pytest.mark.parametrize(("engine", "template"), PRESETS)
def test_preset_beyond_the_engine(tmp_path, info, engine, template, monkeypatch):
    """What the engine cannot do of a preset, and the files that it needs, are told at once in the error file."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(presence, "version", lambda _: "5.0")
    clip = ClipInGrace(tmp_path, info, kind=engine, spec={"template": template})
    try:
        clip.admit()
        assert clip.at() == (JobState.GRACE, Waiting.INVALID_SPEC)
        text = clip.error.read_text()
        for words in PRESETS[engine, template]:
            assert words in text
        clip.edit(vis=None, seg=None, edge={"control_weight": 1.0})
        clip.until(1005)
        assert clip.at() == GRACE
    finally:
        clip.close()


def test_model_that_comes_later(tmp_path, info, monkeypatch):
    """A JSON that needs a model waits with an error file, and goes on by itself once the model is here."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(presence, "version", lambda _: "5.0")
    clip = ClipInGrace(tmp_path, info, kind="diffusers", controls=["depth"])
    try:
        clip.admit()
        clip.edit(edge=None, depth={})
        clip.until(1005)
        assert clip.at() == (JobState.GRACE, Waiting.INVALID_SPEC)
        assert "Depth-Anything-V2-Small-hf, which computes depth, is not here" in clip.error.read_text()
        (folder,) = presence.folders("depth")
        folder.mkdir(parents=True)
        for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
            (folder / name).touch()
        clip.until(1010)
        assert clip.at() == GRACE
        assert not clip.error.exists()
    finally:
        clip.close()
