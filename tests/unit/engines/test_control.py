"""The computed controls are upstream's; upstream/test_upstream_runs.py holds them against its own code."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from support.clips import painted

from povwatch.engines import control


def busy(width=160, height=96):
    """Noise, a slope and shapes: something for every threshold."""
    rng = np.random.default_rng(7)
    picture = painted(0b1011_0010, (width, height))
    picture[height // 2 :] = np.clip(picture[height // 2 :].astype(int) + rng.integers(-30, 30, (1, width, 3)), 0, 255)
    return picture


@pytest.mark.parametrize(
    ("preset", "thresholds"),
    [
        ("very_low", (20, 50)),
        ("low", (50, 100)),
        ("medium", (100, 200)),
        ("high", (200, 300)),
        ("very_high", (300, 400)),
    ],
)
def test_edge_is_canny_on_the_colours(preset, thresholds):
    """The edges are Canny's on the colours, with upstream's thresholds."""
    frame = busy()
    edges = control.edge(frame, preset)
    assert edges.shape == frame.shape
    assert edges.dtype == np.uint8
    assert (edges[..., 0] == cv2.Canny(frame, *thresholds)).all()
    assert (edges[..., 0] == edges[..., 1]).all()
    assert (edges[..., 0] == edges[..., 2]).all()
    assert set(np.unique(edges)) == {0, 255}


def test_higher_threshold_fewer_edges():
    """Each higher preset leaves fewer edges."""
    frame = np.zeros((64, 96, 3), np.uint8)
    for step, value in enumerate((8, 20, 40, 65, 90, 130)):  # stripes, each in stronger contrast than the one before
        frame[:, 16 * step : 16 * step + 8] = value
    counts = [int((control.edge(frame, preset) > 0).sum()) for preset in control.EDGE_THRESHOLDS]
    assert counts == sorted(set(counts), reverse=True), "each preset loses a stripe"
    assert counts[-1] > 0


@pytest.mark.parametrize("preset", list(control.BLUR_FACTORS))
@pytest.mark.parametrize("size", [(160, 96), (101, 75)])
def test_blur_keeps_size_and_mean(preset, size):
    """A blur keeps size and mean, and loses detail."""
    frame = busy(*size)
    blurred = control.blur(frame, preset)
    assert blurred.shape == frame.shape
    assert blurred.dtype == np.uint8
    assert abs(float(blurred.mean()) - float(frame.mean())) < 6
    assert np.abs(np.diff(blurred.astype(int), axis=1)).mean() < np.abs(np.diff(frame.astype(int), axis=1)).mean()


def test_blur_presets_are_upstreams():
    """very_low and high blur at full size; low and very_high at a quarter; then 4, 4, 10, 16, 16 times smaller."""
    assert control.BLUR_FACTORS == {
        "very_low": (1, 4),
        "low": (4, 4),
        "medium": (2, 10),
        "high": (1, 16),
        "very_high": (4, 16),
    }


def test_bicubic_overshoot_is_clamped():
    frame = np.zeros((32, 32, 3), np.uint8)
    frame[:, 16:] = 255
    grown = control.bicubic(frame, (64, 64))
    assert grown[:, :20].max() == 0
    assert grown[:, -20:].min() == 255


@pytest.mark.parametrize("size", [(40, 24), (16, 9), (10, 6), (320, 192)])
def test_bicubic_is_torchvisions(size):
    """Our bicubic differs from torch's by one at most, and seldom."""
    torch = pytest.importorskip("torch", reason="torch is not installed here; it is no dependency")
    frame = busy()
    tensor = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    theirs = torch.nn.functional.interpolate(tensor, size=size[::-1], mode="bicubic", antialias=True)
    theirs = theirs.clamp(0, 255).round().to(torch.uint8)[0].permute(1, 2, 0).numpy()
    difference = np.abs(control.bicubic(frame, size).astype(int) - theirs)
    assert difference.max() <= 1  # a value that falls between two, rounded the other way
    assert (difference > 0).mean() < 0.05


@pytest.mark.parametrize("size", [(64, 48), (1280, 720)])
@pytest.mark.parametrize("key", ["depth", "seg"])
def test_note_fits_any_size(key, size):
    """A note can be drawn in any size."""
    card = control.note(key, size)
    assert card.shape == (size[1], size[0], 3)
    assert card.std() > 2


def test_unknown_presets_are_refused():
    with pytest.raises(KeyError):
        control.edge(busy(), "extreme")
    with pytest.raises(KeyError):
        control.blur(busy(), "extreme")
