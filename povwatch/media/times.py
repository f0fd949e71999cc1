"""Computes when each frame is shown. Pure: timestamps in, timestamps out.

A clip's times are integer ticks of a rational time base, one a frame, in the order of showing.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import lcm
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

USUAL_RATES = tuple(
    sorted(
        {Fraction(n) for n in (1, 2, 5, 6, 8, 10, 12, 15, 16, 20, 24, 25, 30, 48, 50, 60, 72, 90, 100, 120, 240)}
        | {Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120, 240)}
    )
)
"""Rates that cameras record at, frames a second."""

NEAR = Fraction(5, 1000)
"""Relative difference at which a measured rate counts as a usual one."""

TIMESCALE_MAX = 2**31 - 1
"""The finest MP4 clock, ticks a second."""

TIMESCALE_GOOD = 10_000
"""FFmpeg's muxer doubles a coarser clock until it is this fine. Using such a clock from the start keeps both the same.
"""


@dataclass(frozen=True, slots=True)
class Grid:
    """Times of a file's frames: frame k at `ticks[k]` / `timescale` seconds; the last one lasts `last` ticks."""

    ticks: list[int]
    timescale: int
    last: int
    rate: Fraction

    def tick(self, frame: int) -> int:
        """When a frame is shown."""
        return self.ticks[frame]

    def length(self, frame: int) -> int:
        """Ticks that a frame is shown."""
        return self.ticks[frame + 1] - self.ticks[frame] if frame + 1 < len(self.ticks) else self.last

    def first(self, count: int) -> Grid:
        """The grid of the first `count` frames."""
        if count >= len(self.ticks):
            return self
        return Grid(self.ticks[:count], self.timescale, self.ticks[count] - self.ticks[count - 1], self.rate)

    @property
    def end(self) -> Fraction:
        """Seconds at which the last frame ends."""
        return Fraction(self.ticks[-1] + self.last, self.timescale)


@dataclass(frozen=True, slots=True)
class Even:
    """An endless grid: frame k at exactly k / rate."""

    rate: Fraction

    @property
    def timescale(self) -> int:
        """Ticks a second."""
        return _fine(self.rate.numerator)

    def tick(self, frame: int) -> int:
        """When a frame is shown."""
        return frame * self.length(frame)

    def length(self, frame: int) -> int:  # noqa: ARG002 - the same for all
        """Ticks that a frame is shown."""
        return int(self.timescale / self.rate)


def fill_gaps(times: Sequence[int | None], step: int) -> list[int]:
    """Strictly increasing times for frames in the order of showing.

    Some containers have no times of showing (AVI), or repeat one. The times are sorted; a missing one comes `step`
    after the one before, and an equal one is moved on by a tick.
    """
    known = sorted(t for t in times if t is not None)
    if len(known) == len(times):
        filled: list[int] = known
    else:
        filled = []
        for t in times:
            filled.append(t if t is not None else (filled[-1] + step if filled else 0))
    out: list[int] = []
    for t in filled:
        out.append(t if not out or t > out[-1] else out[-1] + 1)
    return out


def measure(times: Sequence[int], base: Fraction, hints: Sequence[Fraction | None]) -> tuple[Fraction, bool]:
    """The rate of a clip, and whether it is constant.

    It is constant if every frame lies within half a tick of an even grid that starts at the first frame: rounding to
    the container's clock explains no more. `hints` are rates that the container claims; the usual rates and the
    measured mean are tried as well.
    """
    usable = [h for h in hints if h]
    if len(times) == 1:
        return (usable[0] if usable else Fraction(1), True)
    mean = (len(times) - 1) / (base * (times[-1] - times[0]))
    near = sorted((r for r in USUAL_RATES if abs(r - mean) <= mean * NEAR), key=lambda r: abs(r - mean))
    for rate in (*usable, *near, mean):
        if _even(times, base, rate):
            return rate, True
    return mean, False


def working_rate(rate: Fraction, *, constant: bool) -> Fraction:
    """The working copy's rate: the source's, or a usual one near its average; at least one frame a second.

    Upstream truncates the rate to an integer, so a rate below one would become zero.
    """
    if constant:
        chosen = rate
    else:
        nearest = min(USUAL_RATES, key=lambda r: abs(r - rate))
        chosen = nearest if abs(nearest - rate) <= rate * NEAR else Fraction(round(rate * 100), 100)
    return max(chosen, Fraction(1))


def source_grid(times: Sequence[int], base: Fraction, rate: Fraction, *, constant: bool) -> Grid:
    """The source's times on a clock that MP4 can hold.

    A constant clip is put on the exact grid (within half a tick of the source's clock), which keeps its rational rate.
    A start below zero is moved to zero, because MP4 players drop what comes before.
    """
    start = max(times[0], 0) * base
    if constant:
        timescale = lcm(rate.numerator, start.denominator)
        if timescale <= TIMESCALE_MAX:
            timescale = _fine(timescale)
            step, first = int(timescale / rate), int(start * timescale)
            return Grid([first + k * step for k in range(len(times))], timescale, step, rate)
    shift = min(times[0], 0)
    timescale = _fine(base.denominator)
    factor = base * timescale
    ticks = [round((t - shift) * factor) for t in times]
    last = round(timescale / rate) if len(ticks) == 1 else _middle(ticks)
    return Grid(ticks, timescale, max(1, last), rate)


def decode_times(order: Sequence[int], grid: Grid) -> list[int]:
    """Decoding times for packets in their order of decoding; packet i shows frame `order[i]`.

    A packet is decoded at the time of the frame that is shown n places earlier, where n is the stream's largest
    reordering. The first packets come before the first frame, as in encoders. Times always increase, and never exceed
    the frame's.
    """
    delay = max((place - shown for place, shown in enumerate(order)), default=0)
    step = grid.length(0)
    return [
        grid.ticks[place - delay] if place >= delay else grid.ticks[0] - (delay - place) * step
        for place in range(len(order))
    ]


def _even(times: Sequence[int], base: Fraction, rate: Fraction) -> bool:
    """Whether 2 |(t_k - t_0) * step_den - k * step_num| <= step_den, in integers, where a frame takes step ticks."""
    step = 1 / (rate * base)
    n, d, first = step.numerator, step.denominator, times[0]
    return all(2 * abs((t - first) * d - k * n) <= d for k, t in enumerate(times))


def _fine(timescale: int) -> int:
    """The clock, doubled until it is fine enough."""
    while timescale < TIMESCALE_GOOD:
        timescale *= 2
    return timescale


def _middle(ticks: Sequence[int]) -> int:
    gaps = sorted(after - before for before, after in pairwise(ticks))
    return gaps[len(gaps) // 2]
