from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from support.clips import make_clip, painted, read_numbers, read_times, upright_frames
from support.made_containers import beginning_with

from povwatch.engines import control
from povwatch.engines.port import Context, EngineCancelled, EngineFailure
from povwatch.engines.preview import PreviewEngine, choose

N = 12
SIZE = (96, 64)


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "work.mp4", frames=N, size=SIZE, fps=Fraction(30_000, 1001), options={"crf": "4"})


def job(clip: Path, **spec):
    return {
        "id": 1,
        "video": str(clip),
        "frames": N,
        "width": SIZE[0],
        "height": SIZE[1],
        "fps_num": 30_000,
        "fps_den": 1001,
        "spec": spec,
        "name": "a",
    }


def generate(clip: Path, context: Context | None = None, **spec):
    work = clip.parent / "private"
    work.mkdir(exist_ok=True)
    return PreviewEngine().generate(job(clip, **spec), context or Context(str(work), str(work)))


def test_says_what_it_is():
    """The preview says that it is not real, and takes every control."""
    stages = []
    able = PreviewEngine().load({}, lambda stage, fraction: stages.append((stage, fraction)))
    assert able["real"] is False
    assert able["controls"] == ["edge", "vis", "depth", "seg"]
    assert stages == [("ready", 1.0)]


@pytest.mark.parametrize(
    ("key", "asked", "made"),
    [
        ("edge", {"preset_edge_threshold": "low"}, lambda frame: control.edge(frame, "low")),
        ("edge", {}, control.edge),
        ("vis", {"preset_blur_strength": "very_high"}, lambda frame: control.blur(frame, "very_high")),
    ],
)
def test_every_frame_is_its_control(clip, key, asked, made):
    """Every frame of a preview is the control of its own frame, at its time."""
    artifact = generate(clip, **{key: {"control_weight": 1.0, **asked}})
    assert Path(artifact["path"]).parent == clip.parent / "private"
    assert (artifact["frames"], artifact["control"], artifact["computed"]) == (N, key, True)
    wanted = [made(frame) for frame in upright_frames(clip)]
    got = list(upright_frames(artifact["path"]))
    assert len(got) == N
    for one, other in zip(wanted, got, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 8
    far = np.abs(wanted[0].astype(int) - got[-1]).mean()
    assert far > np.abs(wanted[-1].astype(int) - got[-1]).mean(), "the frames are told apart"
    assert read_times(artifact["path"]) == [Fraction(k * 1001, 30_000) for k in range(N)]


def test_given_control_is_shown(clip):
    given = make_clip(clip.parent / "given.mkv", frames=N + 5, size=(48, 32))
    artifact = generate(clip, depth={"control_path": str(given)})
    assert read_numbers(artifact["path"]) == list(range(N))
    assert artifact["given"] == str(given)
    assert artifact["computed"] is False


@pytest.mark.parametrize("box", [b"wide", b"mdat", b"moov"])
def test_movie_without_ftyp_is_shown(clip, box):
    given = clip.parent / "given.mov"
    given.write_bytes(beginning_with(box, frames=N))
    assert generate(clip, edge={"control_path": str(given)})["frames"] == N


def test_short_control_is_refused(clip):
    """A control that is too short is refused with both numbers."""
    given = make_clip(clip.parent / "given.mp4", frames=N - 1)
    with pytest.raises(EngineFailure, match=r"'given.mp4', has 11 frames; the clip needs 12") as caught:
        generate(clip, edge={"control_path": str(given)})
    assert caught.value.kind == "invalid"


def test_playlist_is_no_control(clip):
    given = clip.parent / "given.mp4"
    given.write_text(f"ffconcat version 1.0\nfile {clip}\n")
    with pytest.raises(EngineFailure, match="no MP4, Matroska or AVI"):
        generate(clip, edge={"control_path": str(given)})


@pytest.mark.parametrize(
    ("spec", "key", "others"),
    [
        ({"edge": {}, "vis": {}}, "edge", ["vis"]),
        ({"edge": {"control_weight": 0.3}, "vis": {"control_weight": 0.4}}, "vis", ["edge"]),
        ({"edge": {"control_weight": 0.1}, "depth": {"control_weight": 0.9}}, "edge", ["depth"]),
        ({"edge": {"control_weight": 0.1}, "seg": {"control_weight": 0.9, "control_path": "s.mp4"}}, "seg", ["edge"]),
        ({"edge": None, "depth": {}}, "depth", []),
        ({"edge": {"control_weight": 0.0}, "vis": {"control_weight": None}}, "vis", ["edge"]),
    ],
)
def test_weightiest_control_is_shown(spec, key, others):
    """Of several controls, the weightiest that can be seen is shown."""
    shown, rest = choose(spec)
    assert (shown.key, rest) == (key, others)


def test_depth_alone_is_a_note(clip):
    """Depth that is not given is a note, not a picture."""
    artifact = generate(clip, depth={})
    assert artifact["computed"] is False
    card = control.note("depth", SIZE).astype(int)
    assert all(np.abs(frame - card).mean() < 12 for frame in upright_frames(artifact["path"]))


def test_only_the_frames_asked_for(clip):
    assert generate(clip, edge={}, max_frames=5)["frames"] == 5


def test_no_control_is_refused(clip):
    with pytest.raises(EngineFailure, match="no control"):
        generate(clip)


def test_cancelled_between_frames(clip):
    """Progress is told for every frame, and a job is cancelled between two."""
    told = []

    def report(*progress):
        told.append(progress)

    context = Context(str(clip.parent), str(clip.parent), report=report, is_cancelled=lambda: len(told) >= 4)
    with pytest.raises(EngineCancelled):
        generate(clip, context, edge={})
    assert told == [("control", 0, 1, step, N) for step in (1, 2, 3, 4)]


def test_colours_come_through(clip):
    given = make_clip(clip.parent / "given.mp4", frames=N, size=SIZE, options={"crf": "1"})
    artifact = generate(clip, vis={"control_path": str(given)})
    first = next(upright_frames(artifact["path"])).astype(int)
    assert np.abs(first - painted(0, SIZE)).mean() < 6
