"""Where decoded sound goes: spans without a hole, by the timestamps. Pure: numbers in, numbers out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SLACK = 0.015
"""Seconds that a timestamp may be off before it counts: containers round to a millisecond, recorders jitter."""


ROUNDED = 0.005
"""Seconds that the timestamp of a frame may be off that is where it says: of the slack, what rounding takes."""

BURST = 1.0
"""Seconds of sound that may have the time of their first frame, or be early, before the timestamps are believed."""


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
    the next frame contradicts is not believed: one wrong number moves nothing. Nor is one that is early because frames
    are stamped in bursts: network cameras give all packets that they send at once the time of the first.

    Args:
        moments: the timestamp of each frame in seconds; None where there is none.
        lengths: how long each frame lasts in seconds, by its samples.
        forms: the form of each frame (rate, channels, format), as a number; another form begins another span.
    """
    found: list[Span] = []
    for k, (start, follows) in enumerate(_laid(moments, lengths)):
        if not found or not follows or forms[k] != forms[k - 1]:
            found.append(Span(k, start))
    return found


def lead(moments: Sequence[float | None], lengths: Sequence[float]) -> float:
    """Seconds by which a frame is placed later, at most, than its timestamp says."""
    pairs = zip(moments, _laid(moments, lengths), strict=True)
    return max((start - moment for moment, (start, _) in pairs if moment is not None), default=0.0)


def holes(moments: Sequence[float | None], lengths: Sequence[float]) -> list[tuple[float, float]]:
    """Where the sound does not follow on what came before: seconds at which it should have, and by how much it is off.

    Less than nothing: it begins again before the end of what came before.
    """
    found = spans(moments, lengths, [0] * len(moments))
    ends = [a.start + sum(lengths[a.first : b.first]) for a, b in pairwise(found)]
    return [(end, span.start - end) for end, span in zip(ends, found[1:], strict=True)]


def _laid(moments: Sequence[float | None], lengths: Sequence[float]) -> Iterator[tuple[float, bool]]:
    """For each frame the second at which it begins, and whether that is where the one before it ends."""
    end: float | None = None
    for k, moment in enumerate(moments):
        if end is None:
            start, follows = (0.0 if moment is None else moment), False
        else:
            start = end
            if moment is not None and moment > end + SLACK and not _contradicted(k, end + lengths[k], moments):
                start = moment
            elif moment is not None and moment < end - SLACK and not _bunched(k, end, moments, lengths):
                start = min(end, end + _nearest(k, end, moments, lengths))
            follows = start == end
        yield start, follows
        end = start + lengths[k]


def _contradicted(k: int, end: float, moments: Sequence[float | None]) -> bool:
    """Whether the frame after frame k is where it is if frame k is where the one before it ended."""
    following = moments[k + 1] if k + 1 < len(moments) else None
    return following is not None and abs(following - end) <= SLACK


def _bunched(k: int, end: float, moments: Sequence[float | None], lengths: Sequence[float]) -> bool:
    """Whether frame k is early as in bursts of packets.

    In a burst it has the time of the frame before it. A burst's first frame is early by less than a frame, where the
    clock that bursts go by ticks within a frame.
    """
    moment, before = moments[k], moments[k - 1]
    if moment is None:
        return False
    if moment == before:
        return end - moment < BURST
    return k > 1 and before == moments[k - 2] and end - moment < lengths[k] + SLACK


def _nearest(k: int, end: float, moments: Sequence[float | None], lengths: Sequence[float]) -> float:
    """Seconds from where the frames from k on go, laid out from `end`, to where the least early one says it goes.

    Zero where one of them within BURST says that they are right so.
    """
    nearest, at = -math.inf, end
    for moment, length in zip(islice(moments, k, None), islice(lengths, k, None), strict=False):
        if at - end > BURST or (moment is not None and moment > at + SLACK):
            break  # behind a hole nothing is said of what is before it
        if moment is not None:
            nearest = max(nearest, moment - at)
        if nearest >= -ROUNDED:
            return 0.0
        at += length
    return nearest
