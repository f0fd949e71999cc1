"""Where decoded sound goes: spans without a hole, by the timestamps. Pure: numbers in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SLACK = 0.015
"""Seconds that a timestamp may be off before it counts: containers round to a millisecond, recorders jitter."""


@dataclass(frozen=True, slots=True)
class Span:
    """Frames that follow one another without a hole, in one form."""

    first: int
    """Number of its first frame. The last one is the frame before the next span's first."""
    start: float
    """Seconds at which its first sample sounds."""


def spans(moments: Sequence[float | None], lengths: Sequence[float], forms: Sequence[int]) -> list[Span]:
    """Divide frames into spans.

    A frame goes where the one before it ends, unless its timestamp says otherwise by more than SLACK. A timestamp that
    the next frame contradicts is not believed: one wrong number moves nothing.

    Args:
        moments: the timestamp of each frame in seconds; None where there is none.
        lengths: how long each frame lasts in seconds, by its samples.
        forms: the form of each frame (rate, channels, format), as a number; another form begins another span.
    """
    found: list[Span] = []
    end = 0.0
    for k, moment in enumerate(moments):
        told = end if moment is None else moment
        jumps = abs(told - end) > SLACK and not (found and _contradicted(k, end + lengths[k], moments))
        start = told if jumps or not found else end
        if jumps or not found or forms[k] != forms[k - 1]:
            found.append(Span(k, start))
        end = start + lengths[k]
    return found


def holes(moments: Sequence[float | None], lengths: Sequence[float]) -> list[tuple[float, float]]:
    """Where the sound does not follow on what came before: seconds at which it should have, and by how much it is off.

    Less than nothing: it begins again before the end of what came before.
    """
    found = spans(moments, lengths, [0] * len(moments))
    ends = [a.start + sum(lengths[a.first : b.first]) for a, b in pairwise(found)]
    return [(end, span.start - end) for end, span in zip(ends, found[1:], strict=True)]


def _contradicted(k: int, end: float, moments: Sequence[float | None]) -> bool:
    """Whether the frame after frame k is where it is if frame k is where the one before it ended."""
    following = moments[k + 1] if k + 1 < len(moments) else None
    return following is not None and abs(following - end) <= SLACK
