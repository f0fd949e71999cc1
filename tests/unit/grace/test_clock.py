"""The grace clock, with time passed in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from povwatch.core.job import Waiting
from povwatch.grace.clock import Grace, Sample, begin, observe, resume

PERIOD, LIMIT = 120.0, 3600.0


def look(grace: Grace, now: float, **sample) -> Grace:
    values = {"digest": "a", "valid": True} | sample
    return observe(grace, Sample(**values), now, period=PERIOD, limit=LIMIT)


def test_ends_when_the_period_is_over() -> None:
    grace = look(begin("a", PERIOD, 0), 119.9)
    assert grace.waiting is Waiting.GRACE
    assert look(grace, 120).over


def test_edit_starts_it_anew() -> None:
    """An edit starts the clock anew. A touch does not."""
    grace = look(begin("a", PERIOD, 0), 100)
    touched = look(grace, 110)
    assert (touched.left, touched.restarted) == (pytest.approx(10), False)
    edited = look(grace, 110, digest="b")
    assert (edited.left, edited.restarted) == (PERIOD, True)
    assert not look(edited, 229, digest="b").over
    assert look(edited, 230, digest="b").over


@pytest.mark.parametrize(
    ("sample", "waiting"),
    [
        ({"hold": True}, Waiting.HELD),
        ({"editing": True}, Waiting.EDITING),
        ({"valid": False}, Waiting.INVALID_SPEC),
        ({"hold": True, "go": True}, Waiting.HELD),
        ({"valid": False, "go": True}, Waiting.INVALID_SPEC),
    ],
)
def test_clock_stands_still_meanwhile(sample, waiting) -> None:
    """A hold, an open editor and an invalid JSON stop the clock; go ends none of them but the editor."""
    grace = look(begin("a", PERIOD, 0), 50)
    grace = look(grace, 60, **sample)
    assert grace.waiting is waiting
    grace = look(grace, 1000, **sample)
    assert (grace.waiting, grace.left) == (waiting, pytest.approx(60))
    assert not look(grace, 1001).over
    assert look(look(grace, 1001), 1062).over


@pytest.mark.parametrize("sample", [{}, {"editing": True}])
def test_go_ends_it_at_once(sample) -> None:
    assert look(begin("a", PERIOD, 0), 1, go=True, **sample).over


def test_invalid_json_expires() -> None:
    """A JSON that stays invalid expires, whatever edits it gets."""
    grace = look(begin("a", PERIOD, 0), 10, valid=False)
    grace = look(grace, 10 + LIMIT - 1, valid=False, digest="still wrong, but edited")
    assert not grace.expired
    assert look(grace, 10 + LIMIT, valid=False).expired
    assert not look(grace, 10 + LIMIT, digest="b").expired


@pytest.mark.parametrize(
    ("left", "away", "expected"),
    [(100, 20, 80), (100, 95, 30), (100, 86400, 30), (100, -86400, 100), (10, 5, 30), (500, 0, 120)],
)
def test_rest_survives_a_restart(left, away, expected) -> None:
    """What is left survives a restart, with at least thirty seconds and at most the period."""
    assert resume("a", PERIOD, 7, left=left, away=away, invalid_for=None).left == expected


def test_short_period_has_a_short_floor() -> None:
    assert resume("a", 5.0, 0, left=4.0, away=100, invalid_for=None).left == pytest.approx(5.0)


@pytest.mark.parametrize(("left", "expected"), [(100, 100), (10, 30)])
def test_standing_clock_stands_over_a_stop(left, expected) -> None:
    """A clock that stood still does not run while povwatch is off."""
    assert resume("a", PERIOD, 7, left=left, away=86400, invalid_for=None, stood=True).left == expected


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1000), st.sampled_from("ab"), st.booleans(), st.booleans(), st.booleans(), st.booleans()
        ),
        max_size=30,
    )
)
def test_never_runs_while_held(steps) -> None:
    """Whatever happens, the clock never runs while something holds it."""
    now, grace = 0.0, begin("a", PERIOD, 0)
    for wait, digest, valid, editing, hold, go in steps:
        now += wait
        before = grace
        grace = observe(grace, Sample(digest, valid, editing, hold, go), now, period=PERIOD, limit=LIMIT)
        assert 0 <= grace.left <= PERIOD
        if grace.over:
            assert valid
            assert not hold
            assert go or (not editing and digest == before.digest and grace.left == 0)
