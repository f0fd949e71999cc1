"""What of upstream runs without a GPU, run: its config.py judges our jobs, and its augmentors make the controls."""

from __future__ import annotations

import importlib
import json
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from support import upstream_tree
from support.clips import painted
from support.cosmos_jobs import DOUBLES, job

from povwatch.config.settings import SpecDefaults
from povwatch.engines import control, needs
from povwatch.engines.upstream import cached, facts
from povwatch.engines.upstream.arguments import arguments
from povwatch.engines.upstream.session import Session
from povwatch.engines.upstream.settings import Settings
from povwatch.spec import prompts
from povwatch.spec.first import first_spec
from povwatch.spec.parse import parse
from povwatch.spec.variables import Facts

pytestmark = pytest.mark.skipif(not upstream_tree.root(), reason=upstream_tree.MISSING)

ALL = ["edge", "vis", "depth", "seg"]

FILES = ("clip.mp4", "control.mp4", "mask.mp4", "style.png", "kept.npz")

EVERYTHING = {
    "negative_prompt": "blur",
    "seed": 2**63 - 1,
    "guidance": 7,
    "max_frames": 90,
    "context_frame_index": 3,
    "image_context_path": "style.png",
    "num_conditional_frames": 2,
    "resolution": "720p",
    "num_video_frames_per_chunk": 93,
    "num_steps": 20,
    "show_control_condition": True,
    "show_input": True,
    "keep_input_resolution": False,
    "edge": {"control_weight": 0.5, "preset_edge_threshold": "very_low", "mask_prompt": "a cup"},
    "depth": {"control_weight": 0.0, "control_path": "control.mp4", "mask_path": "mask.mp4"},
    "seg": {"control_weight": 1, "control_prompt": "a cup and a hand"},
    "guided_generation_mask": "kept.npz",
    "guided_generation_step_threshold": 3,
    "guided_generation_foreground_labels": [1, 2],
}
"""Every field but vis, which excludes a style image."""

ODD = [
    {"guidance": 8},
    {"guidance": 3.5},
    {"guidance": 3.0},
    {"guidance": "3"},
    {"resolution": 720},
    {"resolution": "721"},
    {"sigma_max": 80},
    {"negative_prompt": None},
    {"negative_prompt": ""},
    {"prompt": None},
    {"max_frames": 0},
    {"context_frame_index": 0},
    {"num_conditional_frames": 3},
    {"num_video_frames_per_chunk": 92},
    {"num_steps": 0},
    {"edge": None},
    {"edge": None, "blur": {}},
    {"edge": {"control_weight": 1.5}},
    {"edge": {"control_wieght": 1}},
    {"edge": {"preset_edge_threshold": "none"}},
    {"vis": {"preset_blur_strength": "highest"}},
    {"vis": {}, "image_context_path": "style.png"},
    {"video_path": "away.mp4"},
    {"guided_generation_mask": "away.npz"},
    {"guided_generation_foreground_labels": []},
    {"fps": 30},
]
"""What upstream takes or refuses by rules of its own; none of these is about a file's content."""


@pytest.fixture
def folder(tmp_path):
    for name in FILES:
        (tmp_path / name).write_bytes(b"\0")
    return tmp_path


@pytest.fixture
def double(monkeypatch):
    """The double's config.py, and nothing of it left behind."""
    monkeypatch.syspath_prepend(str(DOUBLES))
    before = {name for name in sys.modules if name.partition(".")[0] == "cosmos_transfer2"}
    for name in before:
        monkeypatch.delitem(sys.modules, name)
    yield importlib.import_module("cosmos_transfer2.config")
    for name in [name for name in sys.modules if name.partition(".")[0] == "cosmos_transfer2"]:
        del sys.modules[name]


def at(folder, value):
    """The same fields, with the files' places in full."""
    if isinstance(value, dict):
        return {key: at(folder, one) for key, one in value.items()}
    return str(folder / value) if isinstance(value, str) and value in (*FILES, "away.mp4", "away.npz") else value


def test_upstream_takes_our_jobs(folder):
    """Upstream's own classes take our jobs, and mean what we mean by every field."""
    jobs = [
        ({"controls": ["edge"]}, {}),
        ({"controls": ["edge"], "model": "edge/distilled"}, {"max_frames": 93}),
        ({"controls": ALL}, EVERYTHING),
        ({"controls": ALL}, {key: {} for key in ALL}),
        ({"controls": ["edge"]}, {"num_video_frames_per_chunk": 1, "max_frames": 1}),
        ({"controls": ["vis"]}, {"vis": {"preset_blur_strength": "very_high"}, "sigma_max": "80"}),
    ]
    asked = [
        arguments(
            job(folder / "clip.mp4", 200, **at(folder, spec)), Settings.parse({"output_dir": str(folder), **config})
        )
        for config, spec in jobs
    ]
    for (_, spec), ours, theirs in zip(
        jobs, asked, upstream_tree.judge(InferenceArguments=asked)["InferenceArguments"], strict=True
    ):
        assert "refused" not in theirs, theirs
        assert theirs["hint_keys"] == [key for key in ALL if key in ours]
        for name, value in ours.items():
            taken = theirs["fields"][name]
            kept = {key: taken[key] for key in value} if isinstance(value, dict) else taken
            assert kept == value, (name, spec)


def test_upstream_takes_our_setup(folder):
    alone = Settings.parse({"output_dir": str(folder), "controls": ["vis"], "guardrails": False})
    group = Settings.parse({"output_dir": str(folder), "controls": ALL, "gpus_per_worker": 4})
    small = Settings.parse({"output_dir": str(folder), "controls": ["edge"], "model": "edge/distilled"})

    def asked(settings):
        session = Session.__new__(Session)
        session._settings = settings
        return {name: str(value) if name == "output_dir" else value for name, value in session._setup().items()}

    found = upstream_tree.judge(SetupArguments=[asked(alone), asked(group), asked(small)])["SetupArguments"]
    assert (found[0]["fields"]["model"], found[0]["fields"]["disable_guardrails"]) == ("vis", True)
    assert (found[1]["fields"]["model"], found[1]["fields"]["context_parallel_size"]) == ("edge", 4)
    assert (found[1]["fields"]["disable_guardrails"], found[1]["fields"]["keep_going"]) == (False, True)
    assert "edge/distilled" in found[2]["refused"]
    # session.py sets this before anything of upstream is imported
    env = {"COSMOS_EXPERIMENTAL_CHECKPOINTS": "1"}
    [fields] = [one["fields"] for one in upstream_tree.judge(env=env, SetupArguments=[asked(small)])["SetupArguments"]]
    assert fields["config_file"].endswith("interactive/configs/registry_transfer2p5.py")


def test_upstreams_command_takes_our_json(folder):
    """Upstream's own command line takes a JSON as povwatch writes it; of a template with choices, without our block."""
    (folder / ".controls").mkdir()
    for file in ("edge", "background", "objects"):
        (folder / ".controls" / f"clip_{file}.mp4").touch()
    specs = {}
    for name, template in prompts.load_templates(None).items():
        text = first_spec(SpecDefaults(), template, b"clip", Facts(b"clip.mp4", "2026-05-31", digest="d" * 64))
        specs[name] = parse(text, clip_name=b"clip.mp4", file=name)
        fields = json.loads(text)
        assert bool(fields.pop("povwatch", None)) == bool(template.choices)
        (folder / f"{name}.json").write_bytes(json.dumps(fields).encode() if template.choices else text)
    files = sorted(folder.glob("*.json"))
    for file, taken in zip(files, upstream_tree.judge(files=[str(one) for one in files])["files"], strict=True):
        spec = specs[file.stem]
        assert taken["video_path"] == str(folder / "clip.mp4")
        assert (taken["prompt"], taken["negative_prompt"]) == (spec.prompt, spec.negative_prompt)
        for key, asked in spec.controls.items():
            assert taken[key]["control_weight"] == asked.control_weight
            mask = taken[key]["mask_path"]
            assert mask == (str(folder / asked.mask_path) if asked.mask_path else None)


def test_double_judges_as_upstream_does(folder, double):
    asked = [
        at(folder, {"name": "x", "prompt": "a kitchen", "video_path": "clip.mp4", "edge": {}} | one) for one in ODD
    ]
    theirs = upstream_tree.judge(InferenceArguments=asked)["InferenceArguments"]
    for one, answer in zip(asked, theirs, strict=True):
        assert upstream_tree.judged(double.InferenceArguments, one).keys() == answer.keys(), (one, answer)


def test_recorded_weights_are_those_loaded():
    """The weights that are put on record are those that upstream loads."""
    listed = upstream_tree.judge()["checkpoints"]
    for key, need in needs.CHECKPOINTS.items():
        [theirs] = [one for one in listed if (one["control"], one["distilled"]) == (key, False)]
        assert (theirs["repository"], theirs["revision"], theirs["file"]) == (
            need.repository,
            need.revision,
            *need.files,
        )
        assert theirs["path"] is None  # facts.weights reads it once the file was loaded
    assert facts.weights({}, ("edge",), distilled=False) == []


def test_files_are_asked_for_as_in_cached_py():
    """Upstream asks for files as cached.py reads its operands."""
    asked = upstream_tree.judge()["downloads"]
    names = {(repository, *files) for repository, _, files, _ in map(cached.parse, asked)}
    assert (needs.TRANSFER, *needs.CHECKPOINTS["edge"].files) in names
    assert (needs.VAE.repository, *needs.VAE.files) in names
    for repository, revision, files, patterns in map(cached.parse, asked):
        assert "/" in repository
        assert revision
        assert len(files) == 1 or (not files and patterns.get("--include"))


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed")
def test_edges_and_blur_are_upstreams(tmp_path):
    """Our edges are upstream's, bit by bit, and our blur is but for rounding.

    The blur ends in torchvision's bicubic in float32, whose sums Pillow makes in another order: of some 100,000 values
    one is rounded to its neighbour.
    """
    noise = np.random.default_rng(7)
    frames = [painted(code, (202, 150)).astype(int) + noise.integers(-30, 30, (150, 202, 3)) for code in (3, 77)]
    frames = np.clip(np.stack(frames), 0, 255).astype(np.uint8)
    theirs = upstream_tree.controls(frames, tmp_path)
    presets = {"edge": control.EDGE_THRESHOLDS, "vis": control.BLUR_FACTORS}
    assert set(theirs.files) == {f"{key}-{preset}" for key in presets for preset in presets[key]}
    for name in theirs.files:
        key, _, preset = name.partition("-")
        make = control.maker(key, preset)
        off = np.abs(np.stack([make(frame) for frame in frames]).astype(int) - theirs[name])
        assert off.max() <= (0 if key == "edge" else 1), name
        assert (off > 0).mean() < 1e-4, name
