"""Controls that one look has computed and others read: the same numbers, and computed once."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import tiny_needs

tiny_needs.skip_without()

from support import tiny_jobs
from support.tiny_jobs import context, quick, run

from povwatch.engines import control
from povwatch.engines.control_files import ControlFile
from povwatch.engines.port import EngineCancelled, EngineFailure
from povwatch.engines.transfer import frames as frames_module
from povwatch.engines.transfer.leaving import Leaving
from povwatch.engines.transfer.request import read
from povwatch.engines.transfer.settings import Settings
from povwatch.media.source import opened

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning:diffusers")

BOTH = {"edge": {"control_weight": 0.8}, "vis": {"control_weight": 0.5, "preset_blur_strength": "low"}}
FRAMES = 14
"""In chunks of nine, which share a frame: two, the second of which is short."""


@pytest.fixture(scope="module")
def engine(tiny):
    return tiny_jobs.loaded(tiny, controls=["edge", "vis"], chunk_frames=9)[0]


@pytest.fixture(scope="module")
def here(engine, tmp_path_factory):
    """A clip, its first look's artifact and latents, and those of the same job that leaves nothing."""
    folder = tmp_path_factory.mktemp("looks")
    clip = tiny_jobs.clip_of(folder, FRAMES)
    asked = quick(clip, FRAMES, **BOTH)
    plain = run(engine, asked, folder / "plain")
    first = run(engine, asked | {"leave_control_files": True}, folder / "first")
    return folder, asked, plain, first


def asked_of(asked, **settings):
    return read(asked, Settings(controls=("edge", "vis"), **{"chunk_frames": 9, "pixels": 48 * 32} | settings))


def never(*_):
    raise AssertionError("the control is computed again")


def same(one, other):
    artifact, latents = one
    return (
        Path(artifact["path"]).read_bytes() == Path(other[0]["path"]).read_bytes()
        and len(latents) == len(other[1]) == 2
        and all((a == b).all() for a, b in zip(latents, other[1], strict=True))
    )


def test_further_look_is_the_same_to_the_bit(engine, here, monkeypatch) -> None:
    """A look that reads what another one has left has the same latents and the same file, and computes no control."""
    folder, asked, plain, first = here
    assert same(plain, first), "leaving files changes nothing"
    assert plain[0]["control_files"] == []
    left = first[0]["control_files"]
    json.dumps(left)
    assert [one["setting"]["key"] for one in left] == ["edge", "vis"]
    monkeypatch.setattr(control, "edge", never)
    monkeypatch.setattr(control, "blur", never)
    again = run(engine, asked | {"control_files": left, "leave_control_files": True}, folder / "again")
    assert same(plain, again)
    assert again[0]["control_files"] == [], "what was read is not left once more"
    assert again[0]["control_files_used"] == {one["setting"]["key"]: one["sha256"] for one in left}


def test_files_have_every_value(here) -> None:
    """A control file has the computed control of each frame, without loss."""
    _, asked, _, first = here
    pictures = [piece.controls for piece in frames_module.pieces(asked_of(asked))]
    for one in first[0]["control_files"]:
        key = one["setting"]["key"]
        with opened(one["path"], "mp4") as video:
            found = [frame.to_ndarray(format="rgb24") for frame in video.frames()]
        wanted = [*pictures[0][key], *pictures[1][key][1:]]
        assert len(found) == len(wanted) == FRAMES == one["frames"]
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
        assert len({picture.tobytes() for picture in found}) > 1


@pytest.mark.parametrize(
    ("change", "used"),
    [
        ({}, ["edge", "vis"]),
        ({"max_frames": 5}, ["edge", "vis"]),
        ({"edge": {"preset_edge_threshold": "low"}, "vis": BOTH["vis"]}, ["vis"]),
        ({"edge": {"control_path": "/given.mp4"}}, []),
    ],
    ids=["same", "fewer frames", "another preset", "given"],
)
def test_only_what_would_be_computed(here, change, used) -> None:
    """A control file is read only if this look would compute just that: the same settings, and as many frames."""
    _, asked, _, first = here
    spec = {key: value for key, value in asked["spec"].items() if not change or key != "vis" or "edge" not in change}
    job = asked | {"spec": spec | change, "control_files": first[0]["control_files"]}
    assert [one.key for one in asked_of(job).controls if one.file] == used


def test_not_at_another_size_or_length(here) -> None:
    """Edges of another size of the model, or of too few frames, are computed."""
    _, asked, _, first = here
    job = asked | {"control_files": first[0]["control_files"]}
    assert all(one.file is None for one in asked_of(job, pixels=64 * 48).controls)
    short = [one | {"frames": FRAMES - 1} for one in first[0]["control_files"]]
    assert all(one.file is None for one in asked_of(asked | {"control_files": short}).controls)


def test_cut_short_is_an_error(here, tmp_path) -> None:
    """A control file that does not decode to its end is the engine's error, not the JSON's."""
    _, asked, _, first = here
    edge, vis = (ControlFile(**one) for one in first[0]["control_files"])
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(Path(vis.path).read_bytes()[: vis.size // 2])
    files = [edge.to_json(), replace(vis, path=str(cut)).to_json()]
    with pytest.raises(EngineFailure, match="vis that another look has left") as caught:
        list(frames_module.pieces(asked_of(asked | {"control_files": files})))
    assert caught.value.kind == "error"


def test_cancelled_job_leaves_nothing(engine, here, tmp_path) -> None:
    """A job that ends in its middle leaves no control file that counts as whole."""
    _, asked, _, _ = here
    leaving = Leaving(str(tmp_path))
    source = frames_module.pieces(asked_of(asked | {"leave_control_files": True}), leaving)
    next(source)
    source.close()
    assert leaving.files == []
    with pytest.raises(EngineCancelled):
        engine.generate(asked | {"leave_control_files": True}, context(tmp_path, is_cancelled=lambda: True))
