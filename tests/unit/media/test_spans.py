"""Where decoded sound goes, by its timestamps: numbers alone."""

from __future__ import annotations

import pytest

from povwatch.media.spans import SLACK, Span, holes, lead, spans

STEP = 0.02


def placed(moments, forms=None):
    return [(s.first, round(s.start, 6)) for s in spans(moments, [STEP] * len(moments), forms or [0] * len(moments))]


def test_following_frames_are_one_span():
    assert spans([0.5, 0.52, 0.54], [STEP] * 3, [0, 0, 0]) == [Span(0, 0.5)]


def test_rounding_and_jitter_move_nothing():
    assert placed([0.0, 0.021, 0.039, 0.06 + SLACK * 0.9, 0.08]) == [(0, 0.0)]


def test_hole_stays_a_hole():
    assert placed([0.0, 0.02, 0.64, 0.66]) == [(0, 0.0), (2, 0.64)]


def test_small_steps_add_up_to_a_hole():
    """A recorder that loses a little in every frame does not end up out of step."""
    starts = [start for _, start in placed([k * (STEP + 0.004) for k in range(100)])]
    assert starts[-1] == pytest.approx(99 * (STEP + 0.004), abs=5 * (STEP + 0.004))
    assert len(starts) > 10


def test_time_that_goes_back_begins_again():
    assert placed([0.0, 0.02, 0.04, 0.0, 0.02]) == [(0, 0.0), (3, 0.0)]


def test_one_wrong_number_moves_nothing():
    """One wrong time, too large or too small, moves nothing."""
    assert placed([0.0, 0.02, 9000.0, 0.06, 0.08]) == [(0, 0.0)]
    assert placed([0.0, 0.02, -5.0, 0.06, 0.08]) == [(0, 0.0)]


def test_frame_without_a_time():
    """A frame without a time follows the one before it."""
    assert placed([None, None, 0.04]) == [(0, 0.0)]
    assert placed([1.0, None, 1.04]) == [(0, 1.0)]


def test_another_form_goes_on_at_the_end():
    """Frames of another form go on where the ones before ended."""
    assert placed([0.0, 0.02, 0.041, 0.061], [0, 0, 1, 1]) == [(0, 0.0), (2, 0.04)]


def bursts(every, until, begin=0.0):
    """Timestamps of frames that are sent in bursts, each with the time at which its burst begins."""
    return [begin + int(k * STEP / every + 1e-9) * every for k in range(round(until / STEP))]


@pytest.mark.parametrize("every", [0.1, 0.2, 0.21, 0.219, 0.5, 0.9])
def test_bursts_are_played_in_turn(every):
    """Frames in bursts are one span, and the lead is told."""
    for until in (0.5, 1.0, 2.95, 3.0):
        assert placed(bursts(every, until)) == [(0, 0.0)]
    assert lead(bursts(every, 3.0), [STEP] * 150) == pytest.approx(every - STEP, abs=STEP)


def test_hole_between_bursts_stays_a_hole():
    assert placed(bursts(0.2, 1.0) + bursts(0.2, 1.0, 1.6)) == [(0, 0.0), (50, 1.6)]


def test_time_goes_back_before_a_hole():
    """Time that goes back just before a hole begins again, and the hole stays."""
    moments = [0.0, 0.02, 0.04, *[0.01 + k * STEP for k in range(10)], *[0.3 + k * STEP for k in range(10)]]
    assert placed(moments) == [(0, 0.0), (3, 0.01), (13, 0.3)]


def test_time_goes_back_between_bursts():
    """Time that goes back between bursts begins again."""
    assert placed(bursts(0.2, 3.0) + bursts(0.2, 3.0, 2.4)) == [(0, 0.0), (150, 2.4)]


def test_standing_clock_is_not_followed():
    """Nor does what comes after it stay out of step."""
    moments = [0.0] * 100 + [0.5 + k * STEP for k in range(100)]
    assert placed(moments)[-1] == (100, 0.5)


def test_holes_have_their_place_and_length():
    assert [tuple(round(n, 6) for n in found) for found in holes([0.0, 0.02, 0.64, 0.3], [STEP] * 4)] == [
        (0.04, 0.6),
        (0.66, -0.36),
    ]


def test_no_sound_has_no_span():
    assert spans([], [], []) == holes([], []) == []
