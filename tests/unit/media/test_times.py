from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from povwatch.media import times

NTSC = Fraction(30_000, 1001)
RATES = st.sampled_from(
    [
        Fraction(24),
        Fraction(25),
        Fraction(30),
        Fraction(60),
        NTSC,
        Fraction(24_000, 1001),
        Fraction(60_000, 1001),
        Fraction(15),
        Fraction(90),
    ]
)
CLOCKS = st.sampled_from(
    [Fraction(1, 1000), Fraction(1, 600), Fraction(1, 15_360), Fraction(1, 90_000), Fraction(1, 1_000_000)]
)
UNEVEN = st.lists(st.integers(1, 5000), min_size=1, max_size=40)


@given(rate=RATES, base=CLOCKS, count=st.integers(2, 300), start=st.integers(0, 10_000))
def test_constant_rate_despite_rounding(rate, base, count, start):
    """A constant rate is found behind the rounding of any container's clock."""
    ticks = [start + round(k / rate / base) for k in range(count)]
    found, constant = times.measure(ticks, base, [rate])
    assert constant
    assert abs(found - rate) < rate / 100
    if count > 100:
        assert found == rate


def test_usual_rate_without_a_hint():
    """A usual rate is found without a hint."""
    ticks = [round(k * 1001 / 30) for k in range(200)]
    assert times.measure(ticks, Fraction(1, 1000), [None]) == (NTSC, True)


def test_wrong_hint_is_not_believed():
    ticks = [3003 * k for k in range(100)]
    assert times.measure(ticks, Fraction(1, 90_000), [Fraction(30), Fraction(60)]) == (NTSC, True)


def test_one_late_frame_makes_it_variable():
    ticks = [3000 * k for k in range(100)]
    ticks[50] += 1000
    rate, constant = times.measure(ticks, Fraction(1, 90_000), [Fraction(30)])
    assert not constant
    assert rate == 30


def test_single_frame_takes_the_hint():
    """A clip of one frame has the rate that its container says, or 1."""
    assert times.measure([0], Fraction(1, 1000), [None, Fraction(25)]) == (Fraction(25), True)
    assert times.measure([0], Fraction(1, 1000), []) == (Fraction(1), True)


@given(gaps=UNEVEN, base=CLOCKS, start=st.integers(-5000, 5000))
def test_variable_clip_keeps_every_tick(gaps, base, start):
    ticks = [start]
    for gap in gaps:
        ticks.append(ticks[-1] + gap)
    grid = times.source_grid(ticks, base, Fraction(30), constant=False)
    shift = min(start, 0)
    assert [Fraction(t, grid.timescale) for t in grid.ticks] == [(t - shift) * base for t in ticks]
    assert grid.last > 0
    assert grid.timescale <= times.TIMESCALE_MAX


@given(rate=RATES, base=CLOCKS, count=st.integers(1, 60), start=st.integers(0, 5000))
def test_constant_clip_within_half_a_tick(rate, base, count, start):
    """A constant clip gets exact times, each within half a tick of its own."""
    ticks = [start + round(k / rate / base) for k in range(count)]
    grid = times.source_grid(ticks, base, rate, constant=True)
    shown = [Fraction(t, grid.timescale) for t in grid.ticks]
    assert {b - a for a, b in pairwise(shown)} <= {1 / rate}
    assert all(abs(ours - theirs * base) <= base / 2 for ours, theirs in zip(shown, ticks, strict=True))


def test_first_frames_of_a_grid():
    """The first frames of a grid keep their times, and the last one its length."""
    grid = times.Grid([0, 100, 300, 350], 1000, 50, Fraction(30))
    part = grid.first(2)
    assert part == times.Grid([0, 100], 1000, 200, Fraction(30))
    assert part.end == Fraction(3, 10)
    assert grid.first(4) is grid
    assert [grid.length(k) for k in range(4)] == [100, 200, 50, 50]


@given(gaps=UNEVEN, data=st.data())
def test_packets_decode_in_order(gaps, data):
    """Decode times increase, and none is after its frame's own time."""
    ticks = [0]
    for gap in gaps:
        ticks.append(ticks[-1] + gap)
    order = list(range(len(ticks)))
    for place in range(0, len(order) - 2, 3):  # reorder within small groups, as B-frames do
        order[place : place + 3] = data.draw(st.permutations(order[place : place + 3]))
    grid = times.Grid(ticks, 90_000, 10, Fraction(30))
    decoded = times.decode_times(order, grid)
    assert all(a < b for a, b in pairwise(decoded))
    assert all(dts <= ticks[shown] for dts, shown in zip(decoded, order, strict=True))


@given(st.lists(st.none() | st.integers(0, 100), min_size=1, max_size=30))
def test_mended_times_always_increase(ticks):
    mended = times.fill_gaps(ticks, 10)
    assert len(mended) == len(ticks)
    assert all(a < b for a, b in pairwise(mended))


@pytest.mark.parametrize(
    ("ticks", "mended"),
    [
        ([1, 3, 4, 2], [1, 2, 3, 4]),
        ([0, 10, 10, 20], [0, 10, 11, 20]),
        ([0, None, 20, None], [0, 10, 20, 30]),
        ([None, None, None], [0, 10, 20]),
    ],
)
def test_mend(ticks, mended):
    """Times that are missing, equal or out of order become increasing ones."""
    assert times.fill_gaps(ticks, 10) == mended


@pytest.mark.parametrize(
    ("rate", "constant", "working"),
    [
        (NTSC, True, NTSC),
        (Fraction(29_980, 1000), False, NTSC),
        (Fraction(30_010, 1000), False, Fraction(30)),
        (Fraction(27), False, Fraction(27)),
        (Fraction(2_733, 100), False, Fraction(2_733, 100)),
        (Fraction(1, 2), True, Fraction(1)),
        (Fraction(1, 10), False, Fraction(1)),
    ],
)
def test_working_rate(rate, constant, working):
    """The working copy's rate is the clip's, or the usual one beside it, and at least 1."""
    assert times.working_rate(rate, constant=constant) == working


@pytest.mark.parametrize("rate", [Fraction(1), Fraction(30), NTSC, Fraction(240)])
def test_even_grid_is_exact(rate):
    grid = times.Even(rate)
    assert [Fraction(grid.tick(k), grid.timescale) for k in range(50)] == [k / rate for k in range(50)]
