"""Depth, frame by frame, against upstream's own arithmetic, with a tiny model of the real class."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from support import tiny_needs, upstream_source

tiny_needs.skip_without()

from support.deferred import Deferred  # noqa: E402

from povwatch.engines.annotate import presence, video  # noqa: E402
from povwatch.media.errors import MediaError  # noqa: E402

torch = Deferred("torch")
depth = Deferred("povwatch.engines.annotate.depth")
estimate = Deferred("povwatch.engines.annotate.estimate")

pytestmark = pytest.mark.usefixtures("annotators", "one_thread")


def computed(clip):
    """The video that is written, as an engine reads it; sentences for the log; the reports."""
    told = []
    count, notes = depth.depth(clip, str(presence.folders("depth")[0]), "depth.mp4", "cpu", told.append)
    assert count == clip.frames
    assert not Path("depth.mp4.part").exists()
    return np.stack(list(video.frames(type(clip)(**clip.to_json() | {"path": "depth.mp4"})))), notes, told


def maps(clip):
    """Each frame's map by the model alone, in the clip's size."""
    model = estimate.Estimator(str(presence.folders("depth")[0]), "cpu")
    size = (clip.height, clip.width)
    return np.stack([depth.resized(model([picture])[0], size) for picture in video.frames(clip)])


def upstreams(found, monkeypatch):
    """The shades of the same maps by upstream's function, as whole numbers."""
    module = ModuleType("video_depth_model")
    model = SimpleNamespace(setup=lambda: None, generate=lambda _: found)
    module.VideoDepthAnythingModel = lambda **_: model
    name = "cosmos_transfer2._src.transfer2.auxiliary.depth_anything.video_depth_model"
    monkeypatch.setitem(sys.modules, name, module)
    function = upstream_source.functions(upstream_source.UTILS)["_compute_depth_maps"]
    log = SimpleNamespace(info=lambda _: None, error=pytest.fail)
    names = {"torch": torch, "np": np, "log": log, "color_message": lambda text, _: text}
    exec(compile(ast.Module([function], []), "utils.py", "exec"), names)  # noqa: S102 - upstream's own function
    return names["_compute_depth_maps"](np.zeros((len(found), 2, 2, 3), np.uint8))[0].numpy().astype(np.uint8)


@upstream_source.needed
def test_shades_are_upstreams(clip, monkeypatch):
    """The video has upstream's shades of the model's maps, to the bit, one for each frame, the same in all channels."""
    made = clip(frames=6)
    shown, notes, told = computed(made)
    expected = upstreams(maps(made), monkeypatch)
    np.testing.assert_array_equal(shown, np.repeat(expected[..., None], 3, axis=3))
    assert (expected.min(), expected.max() >= 254, notes) == (0, True, [])
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)


@pytest.mark.parametrize(("frames", "size"), [(1, (64, 48)), (2, (38, 90))])
def test_one_frame_and_another_shape(clip, frames, size):
    """A clip of one frame, or higher than wide, has its depth in its own size."""
    shown, _, _ = computed(clip(frames=frames, size=size))
    assert shown.shape == (frames, size[1], size[0], 3)
    assert shown.max() >= 254


def test_depth_that_is_the_same_everywhere(clip, monkeypatch):
    """A model that sees no depth gives a black control, and the log says so."""
    monkeypatch.setattr(estimate.Estimator, "__call__", lambda _, some: np.full((len(some), 6, 8), 2.5, np.float16))
    shown, notes, _ = computed(clip(frames=2, blank=True))
    assert shown.max() == 0
    assert notes == [depth.FLAT]


def test_numbers_that_are_none(clip, monkeypatch):
    """A model whose numbers are none fails, and leaves no scratch file."""
    monkeypatch.setattr(estimate.Estimator, "__call__", lambda _, some: np.full((len(some), 6, 8), np.nan, np.float16))
    with pytest.raises(MediaError, match="The depth of frame 0 is no number"):
        computed(clip(frames=2))
    assert not Path("depth.mp4.part").exists()
