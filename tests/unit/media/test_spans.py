"""Where decoded sound goes, by its timestamps: numbers alone."""

from __future__ import annotations

import pytest

from povwatch.media.spans import SLACK, Span, holes, spans

STEP = 0.02


def placed(moments, forms=None):
    return [(s.first, round(s.start, 6)) for s in spans(moments, [STEP] * len(moments), forms or [0] * len(moments))]


def test_frames_that_follow_one_another_are_one_span():
    assert spans([0.5, 0.52, 0.54], [STEP] * 3, [0, 0, 0]) == [Span(0, 0.5)]


def test_rounding_and_jitter_move_nothing():
    assert placed([0.0, 0.021, 0.039, 0.06 + SLACK * 0.9, 0.08]) == [(0, 0.0)]


def test_a_hole_stays_a_hole():
    assert placed([0.0, 0.02, 0.64, 0.66]) == [(0, 0.0), (2, 0.64)]


def test_small_steps_add_up_to_a_hole():
    """A recorder that loses a little in every frame does not end up out of step."""
    starts = [start for _, start in placed([k * (STEP + 0.004) for k in range(100)])]
    assert starts[-1] == pytest.approx(99 * (STEP + 0.004), abs=5 * (STEP + 0.004))
    assert len(starts) > 10


def test_time_that_goes_back_begins_again():
    assert placed([0.0, 0.02, 0.04, 0.0, 0.02]) == [(0, 0.0), (3, 0.0)]


def test_one_wrong_number_moves_nothing():
    assert placed([0.0, 0.02, 9000.0, 0.06, 0.08]) == [(0, 0.0)]
    assert placed([0.0, 0.02, -5.0, 0.06, 0.08]) == [(0, 0.0)]


def test_a_frame_without_a_time_follows_the_one_before():
    assert placed([None, None, 0.04]) == [(0, 0.0)]
    assert placed([1.0, None, 1.04]) == [(0, 1.0)]


def test_another_form_goes_on_where_the_one_before_ended():
    assert placed([0.0, 0.02, 0.041, 0.061], [0, 0, 1, 1]) == [(0, 0.0), (2, 0.04)]


def test_holes_are_told_with_where_and_how_much():
    assert [tuple(round(n, 6) for n in found) for found in holes([0.0, 0.02, 0.64, 0.3], [STEP] * 4)] == [
        (0.04, 0.6),
        (0.66, -0.36),
    ]


def test_no_sound_has_no_span():
    assert spans([], [], []) == holes([], []) == []
