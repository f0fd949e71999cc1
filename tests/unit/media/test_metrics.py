"""Scores of made pictures, whose right values are known by arithmetic."""

from __future__ import annotations

import numpy as np
import pytest

from povwatch.core.scores import Missing
from povwatch.media.hands import Hand, Hands, NoHands, matched, read
from povwatch.media.metrics import (
    Acceleration,
    BlurSsim,
    Colour,
    Edges,
    Found,
    Motion,
    Pair,
    resized_mask,
    ssim,
    within,
)

WIDTH, HEIGHT = 96, 64

BACK = 40
"""The grey of the background."""


def flat(*grey):
    """A picture of one grey, or one colour."""
    return np.full((HEIGHT, WIDTH, 3), grey, np.uint8)


def blob(*places, side=16, on=None):
    """White squares on a grey picture. A place is the left and the top of one."""
    picture = flat(BACK) if on is None else on.copy()
    for left, top in places:
        picture[top : top + side, left : left + side] = 255
    return picture


def left_half():
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[:, : WIDTH // 2] = True
    return mask


def measured(metric, results, clips, **fields):
    """What a metric finds in consecutive frames."""
    found = Found()
    for k, (result, clip) in enumerate(zip(results, clips, strict=True)):
        metric.update(Pair(result, clip, follows=k > 0, **{name: one[k] for name, one in fields.items()}))
    metric.compute(found)
    return found


def busy(number):
    """A picture with edges, colours and a moving square."""
    slope = np.tile(np.linspace(30, 90, WIDTH, dtype=np.uint8), (HEIGHT, 1))
    return blob((4 + 6 * number, 20), on=np.stack([slope, slope[::-1], slope // 2], axis=2))


@pytest.mark.parametrize(
    ("metric", "values"),
    [
        (BlurSsim, {"blur_ssim": 1.0}),
        (Motion, {"invented_motion": 0.0, "lost_motion": 0.0}),
        (Acceleration, {"temporal_residual": 0.0}),
        (Colour, {"colour_drift": 0.0}),
    ],
)
def test_clip_itself(metric, values):
    frames = [busy(k) for k in range(6)]
    assert measured(metric(), frames, frames).scores == values
    inside = measured(metric(), frames, frames, kept=[left_half()] * 6).scores
    assert inside == values | {f"{name}_kept": value for name, value in values.items()}


# -- edge_f1


def edges_of(picture):
    import cv2  # noqa: PLC0415 - the same call as the score's

    return cv2.Canny(picture, 100, 200) > 0


def test_edges_of_the_control():
    picture = blob((20, 20))
    found = measured(Edges(), [picture], [picture], control=[edges_of(picture)])
    assert found.scores == {"edge_f1": 1.0}


def test_edges_shifted():
    picture, moved = blob((20, 20)), blob((28, 28))
    control = edges_of(moved)
    common, each = np.count_nonzero(control & edges_of(picture)), np.count_nonzero(control)
    found = measured(Edges(), [picture], [picture], control=[control])
    assert found.scores["edge_f1"] == pytest.approx(common / each, abs=1e-4)  # as many edges in both
    assert found.scores["edge_f1"] < 0.1


def test_half_of_the_edges_missing():
    """Two squares in the control, and one in the result: all of its edges are right, and half are there."""
    both, one = blob((10, 20), (60, 20)), blob((10, 20))
    found = measured(Edges(), [one], [one], control=[edges_of(both)])
    assert found.scores["edge_f1"] == pytest.approx(2 / 3, abs=1e-4)
    assert found.details["edge_f1"] == {"precision": 1.0, "recall": 0.5}


def test_edges_within_the_masks():
    """The square that is missing is where the control does not hold, or outside of what is kept."""
    both, one = edges_of(blob((10, 20), (60, 20))), blob((10, 20))
    found = measured(Edges(), [one], [one], control=[both], kept=[left_half()])
    assert (found.scores["edge_f1"], found.scores["edge_f1_kept"]) == (pytest.approx(2 / 3, abs=1e-4), 1.0)
    assert measured(Edges(), [one], [one], control=[both], holds=[left_half()]).scores == {"edge_f1": 1.0}


def test_no_edges():
    nothing = np.zeros((HEIGHT, WIDTH), np.bool_)
    found = measured(Edges(), [busy(0)], [busy(0)], control=[nothing])
    assert (found.scores, found.missing) == ({}, {"edge_f1": "no-edges"})


def test_edges_of_nothing():
    found = measured(Edges(), [flat(BACK)], [busy(0)], control=[edges_of(busy(0))])
    assert found.scores == {"edge_f1": 0.0}


# -- blur_ssim


def test_ssim_of_flat_pictures():
    """Without variance, only the means count: (2ab + C1) / (a2 + b2 + C1)."""
    c1 = (0.01 * 255) ** 2
    expected = (2 * 50 * 200 + c1) / (50**2 + 200**2 + c1)
    found = measured(BlurSsim(), [flat(50)], [flat(200)])
    assert found.scores["blur_ssim"] == pytest.approx(expected, abs=1e-4)


def test_ssim_as_in_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    one, other = (busy(k)[:, :, 0].astype(np.float32) for k in (0, 3))
    theirs = metrics.structural_similarity(
        one, other, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )[1]
    assert np.abs(ssim(one, other) - theirs)[6:-6, 6:-6].max() < 1e-3


def test_ssim_of_a_blurred_clip():
    """Detail that the blur takes away from both does not count; a square in another place does."""
    fine = np.indices((HEIGHT, WIDTH)).sum(axis=0) % 2 * 20 + 90
    checked = np.repeat(fine.astype(np.uint8)[:, :, None], 3, axis=2)
    assert measured(BlurSsim(), [flat(100)], [checked]).scores["blur_ssim"] > 0.95
    assert measured(BlurSsim(), [blob((10, 20))], [blob((60, 20))]).scores["blur_ssim"] < 0.9


def test_ssim_inside_what_is_kept():
    found = measured(BlurSsim(), [blob((70, 20))], [flat(BACK)], kept=[left_half()])
    assert found.scores["blur_ssim_kept"] == 1.0 > found.scores["blur_ssim"]


# -- invented_motion, lost_motion


def test_one_blob_added():
    """The clip stands still, so that everything that moves in the result is invented."""
    results = [flat(BACK), blob((40, 20)), flat(BACK)]
    assert measured(Motion(), results, [flat(BACK)] * 3).scores == {"invented_motion": 1.0, "lost_motion": 0.0}


def test_blob_added_to_a_moving_one():
    """Two like blobs come, far from each other, and the clip has one of them: half of the motion is invented."""
    clips, results = [flat(BACK), blob((8, 20))], [flat(BACK), blob((8, 20), (64, 20))]
    found = measured(Motion(), results, clips, kept=[left_half()] * 2)
    assert found.scores == {
        "invented_motion": 0.5,
        "lost_motion": 0.0,
        "invented_motion_kept": 0.0,
        "lost_motion_kept": 0.0,
    }


def test_frozen_loses_all_motion():
    clips = [blob((8 * k, 20)) for k in range(4)]
    assert measured(Motion(), clips[:1] * 4, clips).scores == {"invented_motion": 0.0, "lost_motion": 1.0}


def test_motion_across_a_gap():
    """Frames that do not follow each other are not compared."""
    metric, found = Motion(), Found()
    for picture in (flat(BACK), blob((40, 20))):
        metric.update(Pair(picture, flat(BACK)))
    metric.compute(found)
    assert found.missing == {"invented_motion": "too-short", "lost_motion": "too-short"}


# -- temporal_residual


def test_frames_swapped():
    """10, 20, 30, 40, 50 has no acceleration; 10, 20, 40, 30, 50 has +10, -30 and +30."""
    clips = [flat(grey) for grey in (10, 20, 30, 40, 50)]
    results = [flat(grey) for grey in (10, 20, 40, 30, 50)]
    found = measured(Acceleration(), results, clips)
    assert found.scores["temporal_residual"] == pytest.approx(70 / 3, abs=1e-3)


def test_frozen_loses_acceleration():
    """0, 10, 40, 90 has an acceleration of 20 each time, a frozen result none."""
    clips = [flat(grey) for grey in (0, 10, 40, 90)]
    assert measured(Acceleration(), clips[:1] * 4, clips).scores["temporal_residual"] == 20.0


def test_worst_quarter_counts():
    """One quarter flashes by 80, which is 80, -160 and 80 of acceleration: a fourth of that in the whole picture.

    The blur takes a little over the quarter's edge.
    """
    lit = flat(BACK)
    lit[: HEIGHT // 2, : WIDTH // 2] = BACK + 80
    results = [flat(BACK), flat(BACK), lit, flat(BACK), flat(BACK)]
    found = measured(Acceleration(), results, [flat(BACK)] * 5, kept=[~left_half()] * 5)
    mean = (80 + 160 + 80) / 3
    assert found.scores["temporal_residual"] == pytest.approx(mean, rel=0.03)
    assert found.details["temporal_residual"]["whole"] == pytest.approx(mean / 4, rel=0.03)
    assert found.scores["temporal_residual_kept"] == pytest.approx(0, abs=2)  # the blur reaches over the edge


# -- colour_drift


def lightness(grey):
    """L* of an sRGB grey."""
    linear = ((grey / 255 + 0.055) / 1.055) ** 2.4
    return 116 * linear ** (1 / 3) - 16


def test_another_colour_is_no_drift():
    """A look may change the light: a difference that stays is none."""
    clips = [flat(100)] * 10
    found = measured(Colour(), [flat(180)] * 10, clips)
    assert found.scores["colour_drift"] == pytest.approx(0, abs=0.01)
    assert found.details["colour_drift"]["shift"][0] == pytest.approx(lightness(180) - lightness(100), abs=0.1)


def test_colour_that_drifts():
    """Every frame after the first is lighter by the same: so far has it drifted."""
    results = [flat(100), *[flat(160)] * 20]
    found = measured(Colour(), results, [flat(100)] * 21)
    assert found.scores["colour_drift"] == pytest.approx(lightness(160) - lightness(100), abs=0.1)


def test_drift_of_the_clip_itself():
    """What changes in the clip may change in the result."""
    both = [flat(40 + 10 * k) for k in range(10)]
    assert measured(Colour(), both, both).scores["colour_drift"] == 0.0


def test_drift_outside_what_is_kept():
    results = [flat(100), flat(100)]
    results[1][:, WIDTH // 2 :] = 200
    found = measured(Colour(), results, [flat(100)] * 2, kept=[left_half()] * 2)
    assert found.scores["colour_drift_kept"] == 0.0 < found.scores["colour_drift"]


@pytest.mark.parametrize("metric", [Motion, Acceleration, Colour])
def test_one_frame(metric):
    found = measured(metric(), [busy(0)], [busy(0)])
    assert (found.scores, set(found.missing.values())) == ({}, {"too-short"})


@pytest.mark.parametrize("metric", [BlurSsim, Motion, Acceleration, Colour])
def test_empty_mask(metric):
    frames, nothing = [busy(k) for k in range(4)], [np.zeros((HEIGHT, WIDTH), np.bool_)] * 4
    found = measured(metric(), frames, frames, kept=nothing)
    assert found.missing == {f"{name}_kept": "empty-mask" for name in metric.names}


# -- hands


def hand(left, top, side="Right", size=40.0):
    """A hand whose box is `size` pixels wide and half as high."""
    steps = np.arange(21)
    return Hand(np.stack([left + steps * size / 20, top + steps % 2 * size / 2], axis=1), side)


class Finder:
    """Finds the hands that are told for each picture."""

    def __init__(self, *told):
        self._told = list(told)

    def __call__(self, _picture):
        return self._told.pop(0)


def hands_of(*frames, kept=None):
    """The scores of frames; each has the hands of the result and of the clip."""
    metric, found = Hands(Finder(*(part for frame in frames for part in frame))), Found()
    for _ in range(3 * len(frames)):
        metric.update(Pair(flat(0), flat(0), kept=kept))
    metric.compute(found)
    return found


def test_hands_in_place():
    both = [hand(10, 10)], [hand(10, 10)]
    assert hands_of(both, both).scores == {"hands_changed": 0.0, "hands_pck": 1.0, "hands_swapped": 0.0}


def test_hand_that_vanishes():
    """In one of four frames; a frame without any hand does not count."""
    both, gone = ([hand(10, 10)], [hand(10, 10)]), ([], [hand(10, 10)])
    assert hands_of(both, both, gone, both, ([], [])).scores["hands_changed"] == 0.25


def test_points_that_moved():
    """By a little more than a tenth of the box, in half of the frames."""
    near, away = ([hand(13.9, 10)], [hand(10, 10)]), ([hand(14.1, 10)], [hand(10, 10)])
    assert hands_of(near, away).scores["hands_pck"] == 0.5


def test_hands_swapped():
    right, left = hand(10, 10), hand(60, 10, "Left")
    mixed = [hand(10, 10, "Left"), hand(60, 10, "Left")]
    assert hands_of((mixed, [right, left])).scores["hands_swapped"] == 0.5


def test_nearest_hands_go_together():
    one, other = hand(10, 10), hand(40, 10)
    assert matched([hand(42, 10), hand(11, 10)], [one, other])[0][1] is one
    assert matched([hand(500, 10)], [one]) == []


def test_hands_inside_what_is_kept():
    found = hands_of(([hand(0, 10)], [hand(0, 10), hand(60, 10, size=30)]), kept=left_half())
    assert (found.scores["hands_changed"], found.scores["hands_changed_kept"]) == (1.0, 0.0)


def test_no_hands():
    assert set(hands_of(([], [])).missing.values()) == {"no-hands"}


def test_hands_cannot_be_found():
    found = Found()
    NoHands(Missing.NO_MODEL).compute(found)
    assert found.missing == dict.fromkeys(Hands.names, "no-model")


def test_landmarks_in_pixels():
    class Of:
        def __init__(self, **fields):
            self.__dict__ |= fields

    result = Of(hand_landmarks=[[Of(x=0.5, y=0.25)] * 21], handedness=[[Of(category_name="Left")]])
    (one,) = read(result, (200, 100))
    assert one.side == "Left"
    assert one.points.tolist() == [[100.0, 25.0]] * 21


# -- sizes


@pytest.mark.parametrize(
    ("size", "limits", "expected"),
    [
        ((1280, 720), {"short": 720}, (1280, 720)),
        ((3840, 2160), {"short": 720}, (1280, 720)),
        ((1080, 1920), {"short": 720}, (720, 1280)),
        ((64, 48), {"long": 256}, (64, 48)),
        ((2000, 1), {"long": 256}, (256, 1)),
    ],
)
def test_shrunk_in_proportion(size, limits, expected):
    assert within(size, **limits) == expected


def test_mask_in_another_size():
    assert resized_mask(left_half(), (WIDTH // 2, HEIGHT // 2)).mean() == 0.5
