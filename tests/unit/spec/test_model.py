import ast
import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from support import upstream_tree
from support.spec_texts import members

from povwatch.core.cosmos import CONTROLS
from povwatch.core.errors import Problem
from povwatch.spec.model import DEFAULT_NEGATIVE_PROMPT, Control, EdgeControl, SegControl, Spec, VisControl

ACCEPTED = {
    "guidance as upstream takes it": {"guidance": "3"},
    "guidance as a float": {"guidance": 3.0},
    "guidance's ends": {"guidance": 7},
    "a big seed": {"seed": 2**63 - 1},
    "an image": {"num_video_frames_per_chunk": 1, "max_frames": 1},
    "the folder in front": {"video_path": "./clip.mp4"},
    "a schema": {"$schema": "povwatch.schema.json"},
    "our block": {"povwatch": {"start": "hold", "priority": -100, "drawn": {"light": "lamp"}}},
    "a control that is not set": {"depth": None},
    "all controls": {
        "edge": {"preset_edge_threshold": "very_low"},
        "vis": {},
        "depth": {},
        "seg": {"control_prompt": "cup"},
    },
    "a mask": {"edge": {"mask_path": "masks/m.mp4", "control_weight": 0}},
    "guided": {"guided_generation_mask": "m.npz", "guided_generation_foreground_labels": [1, 2]},
    "an image's style": {"image_context_path": "style.png"},
    "sigma": {"sigma_max": "80"},
    "prompt from a file": {"prompt": ..., "prompt_path": "p.txt"},
}

REJECTED = {
    "no name": {"name": ...},
    "no video": {"video_path": ...},
    "no prompt": {"prompt": ...},
    "blank prompt": {"prompt": " \n"},
    "null prompt": {"prompt": None},
    "two prompts": {"prompt_path": "p.txt"},
    "unknown": {"promt": "x"},
    "unknown in a control": {"edge": {"control_wieght": 0.3}},
    "a preset of another control": {"edge": {"preset_blur_strength": "low"}},
    "blur": {"blur": {}},
    "no negative prompt": {"negative_prompt": ""},
    "null negative prompt": {"negative_prompt": None},
    "half a guidance": {"guidance": 3.5},
    "guidance beyond": {"guidance": 8},
    "guidance below": {"guidance": -1},
    "guidance true": {"guidance": True},
    "seed below": {"seed": -1},
    "seed true": {"seed": True},
    "weight beyond": {"edge": {"control_weight": 1.01}},
    "weight true": {"edge": {"control_weight": True}},
    "weight nan": {"edge": {"control_weight": "nan"}},
    "frames 0": {"max_frames": 0},
    "context 0": {"context_frame_index": 0},
    "conditional 3": {"num_conditional_frames": 3},
    "conditional true": {"num_conditional_frames": True},
    "resolution as a number": {"resolution": 720},
    "resolution that is none": {"resolution": "540"},
    "sigma as a number": {"sigma_max": 80},
    "sigma that is none": {"sigma_max": "much"},
    "sigma beyond": {"sigma_max": "201"},
    "chunk": {"num_video_frames_per_chunk": 61},
    "steps 0": {"num_steps": 0},
    "no control": {"edge": ...},
    "control null": {"edge": None},
    "control true": {"edge": True},
    "two styles": {"vis": {}, "image_context_path": "a.png"},
    "two masks": {"edge": {"mask_path": "m.mp4", "mask_prompt": "cup"}},
    "a preset": {"edge": {"preset_edge_threshold": "middle"}},
    "blank segments": {"seg": {"control_prompt": ""}},
    "video elsewhere": {"video_path": "sub/clip.mp4"},
    "absolute": {"edge": {"control_path": "/etc/passwd"}},
    "upwards": {"edge": {"control_path": "a/../../x.mp4"}},
    "home": {"edge": {"control_path": "~/x.mp4"}},
    "null byte": {"image_context_path": "a\0b"},
    "empty path": {"edge": {"mask_path": ""}},
    "a mask that cannot be read": {"guided_generation_mask": "m.png"},
    "no labels": {"guided_generation_mask": "m.npz", "guided_generation_foreground_labels": []},
    "start": {"povwatch": {"start": "later"}},
    "priority": {"povwatch": {"priority": 101}},
    "drawn that is no text": {"povwatch": {"drawn": {"light": 3}}},
    "speed": {"povwatch": {"speed": "quick"}},
    "kept upwards": {"povwatch": {"keep": "../b/hands.mp4"}},
    "kept upwards and down again": {"povwatch": {"keep": "a/../../b/hands.mp4"}},
    "kept from anywhere": {"povwatch": {"keep": "/etc/passwd"}},
    "kept from home": {"povwatch": {"keep": "~/hands.mp4"}},
    "kept from the private folder": {"povwatch": {"keep": ".povwatch/7.r1/source.mp4"}},
    "kept with a null byte": {"povwatch": {"keep": "a\0b"}},
    "kept from a folder": {"povwatch": {"keep": "hands/"}},
    "kept from the folder itself": {"povwatch": {"keep": "."}},
    "kept from nowhere": {"povwatch": {"keep": " "}},
    "dilated by less than nothing": {"povwatch": {"keep": "hands.mp4", "dilate": -1}},
    "dilated too far": {"povwatch": {"keep": "hands.mp4", "dilate": 257}},
    "kept as a control that is not set": {"povwatch": {"keep": "hands.mp4", "keep_as": "vis"}},
    "kept as a masked control": {"edge": {"mask_path": "m.mp4"}, "povwatch": {"keep": "h.mp4", "keep_as": "edge"}},
    "kept twice": {"guided_generation_mask": "m.mp4", "povwatch": {"keep": "hands.mp4"}},
    "ours unknown": {"povwatch": {"when": "now"}},
}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED)
def test_accepted_and_stored(changes):
    """Accepted fields are stored and read again with the same digest."""
    spec = Spec.model_validate(members(**changes))
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    assert Spec.model_validate_json(spec.model_dump_json()).digest() == spec.digest()


@pytest.mark.parametrize("changes", REJECTED.values(), ids=REJECTED)
def test_rejected(changes):
    """Fields and values that upstream or povwatch does not take are refused."""
    with pytest.raises(ValidationError):
        Spec.model_validate(members(**changes))


def test_spec_does_not_change():
    spec = Spec.model_validate(members())
    with pytest.raises(ValidationError):
        spec.seed = 1
    with pytest.raises(ValidationError):
        spec.edge.control_weight = 0.5


SAME = [
    {"name": "other"},
    {"povwatch": {"start": "now", "priority": 3, "drawn": {"light": "lamp"}}},
    {"$schema": "x"},
    {"guidance": 3},
    {"guidance": "3"},
    {"edge": {"control_weight": 1}},
    {"depth": None},
    {"negative_prompt": DEFAULT_NEGATIVE_PROMPT},
]
OTHER = [
    {"seed": 1},
    {"prompt": "feet"},
    {"edge": {"control_weight": 0.5}},
    {"vis": {}},
    {"max_frames": 10},
    {"povwatch": {"speed": "fast"}},
    {"povwatch": {"speed": "exact"}},  # over another engine.speed
    {"povwatch": {"keep": "hands.mp4"}},
]


@pytest.mark.parametrize("changes", SAME)
def test_digest_stays(changes):
    """A change that makes no other run keeps the digest."""
    assert Spec.model_validate(members(**changes)).digest() == Spec.model_validate(members()).digest()


@pytest.mark.parametrize("changes", OTHER)
def test_digest_changes(changes):
    """A change that makes another run changes the digest."""
    assert Spec.model_validate(members(**changes)).digest() != Spec.model_validate(members()).digest()


def test_upstream_gets_its_fields_only():
    spec = Spec.model_validate(members(povwatch={"priority": 1}, **{"$schema": "x"}))
    given = json.loads(json.dumps(spec.upstream()))
    assert given["video_path"] == "clip.mp4"
    assert given["edge"] == {"control_weight": 1.0, "preset_edge_threshold": "medium"}
    assert given["negative_prompt"] == DEFAULT_NEGATIVE_PROMPT
    assert not {"povwatch", "$schema", "schema_", "depth", "prompt_path"} & given.keys()


KEPT = {"keep": "./hands.mp4", "dilate": 3}


def test_kept_is_asked_for_as_a_mask():
    """An engine is asked for a mask where what is kept gets one; upstream's fields do not name the file."""
    spec = Spec.model_validate(members(povwatch=KEPT))
    assert spec.kept_as == "guided_generation_mask"
    assert spec.asked() == spec.upstream() | {"guided_generation_mask": "hands.mp4"}
    assert spec.referenced_paths() == {}
    spec = Spec.model_validate(members(vis={}, povwatch=KEPT | {"keep_as": "vis"}))
    assert spec.asked()["vis"] == spec.upstream()["vis"] | {"mask_path": "hands.mp4"}
    problems = [Problem("is no use", "", "vis.mask_path"), Problem("is too much", "", "seed")]
    assert [one.field for one in spec.in_its_words(problems)] == ["povwatch.keep", "seed"]
    assert Spec.model_validate(members()).asked() == Spec.model_validate(members()).upstream()


@pytest.mark.parametrize("change", [{"keep": "h.mp4"}, {"dilate": 4}, {"keep_as": "edge"}])
def test_kept_is_a_part_of_the_run(change):
    spec, other = (Spec.model_validate(members(povwatch=own)) for own in (KEPT, KEPT | change))
    assert spec.digest() != other.digest()
    without = [Spec.model_validate(members(povwatch=own)) for own in ({}, {"dilate": 4})]
    assert without[0].digest() == without[1].digest()


def test_controls_in_upstreams_order():
    spec = Spec.model_validate(members(seg={}, depth={}, vis={}))
    assert tuple(spec.controls) == CONTROLS


def test_every_named_file_is_found():
    spec = Spec.model_validate(
        members(
            prompt=...,
            prompt_path="p.txt",
            image_context_path="i.png",
            guided_generation_mask="g.mp4",
            edge={"control_path": "./e//e.mp4"},
            depth={"mask_path": "m.mp4"},
        )
    )
    assert spec.referenced_paths() == {
        "prompt_path": "p.txt",
        "image_context_path": "i.png",
        "guided_generation_mask": "g.mp4",
        "edge.control_path": "e/e.mp4",
        "depth.mask_path": "m.mp4",
    }


def test_schema_helps_an_editor():
    """Every field of the schema has a description, and the bounds that the model checks."""
    schema = Spec.model_json_schema()
    assert all(field.get("description") for field in schema["properties"].values())
    for name in ("EdgeControl", "VisControl", "DepthControl", "SegControl", "Own"):
        assert all(field.get("description") for field in schema["$defs"][name]["properties"].values())
        assert schema["$defs"][name]["additionalProperties"] is False
    guidance = schema["properties"]["guidance"]
    assert (guidance["minimum"], guidance["maximum"], guidance["default"]) == (0, 7, 3)
    assert schema["properties"]["num_video_frames_per_chunk"]["enum"] == [93, 1]
    assert "720p" in schema["properties"]["resolution"]["enum"]


UPSTREAM = upstream_tree.root()


@pytest.mark.skipif(not UPSTREAM, reason=upstream_tree.MISSING)
def test_fields_and_defaults_are_upstreams():
    tree = ast.parse((Path(UPSTREAM) / "cosmos_transfer2" / "config.py").read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}

    def fields(*names):
        return {
            line.target.id: line.value
            for name in names
            for line in classes[name].body
            if isinstance(line, ast.AnnAssign)
        }

    theirs = fields("CommonInferenceArguments", "InferenceArguments")
    ours = {name: field.default for name, field in Spec.model_fields.items() if name not in ("schema_", "povwatch")}
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, ast.Constant) and value.value is not None:
            assert ours[name] == value.value, name
    assert theirs["num_steps"].orelse.value == ours["num_steps"]  # 1 if SMOKE else 35
    negative = next(
        line.value.value
        for line in tree.body
        if isinstance(line, ast.Assign) and line.targets[0].id == "DEFAULT_NEGATIVE_PROMPT"
    )
    assert ours["negative_prompt"] == negative
    for ours_, name in ((EdgeControl, "EdgeConfig"), (VisControl, "BlurConfig"), (SegControl, "SegConfig")):
        assert ours_.model_fields.keys() == fields("ControlConfig", name).keys()
    assert Control.model_fields.keys() == fields("ControlConfig", "DepthConfig").keys()
