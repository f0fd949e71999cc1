"""Places decoded sound: spans without a gap, by the timestamps. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SLACK = 0.015
"""Seconds by which a timestamp may be off before it counts: containers round to a millisecond, recorders jitter."""


ROUNDED = 0.005
"""Seconds by which a correctly placed frame's timestamp may be off; the part of the slack that rounding takes."""

BURST = 1.0
"""Seconds of sound that may carry the time of their first frame, or be early, before the timestamps are believed."""


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive frames of one form, without a gap."""

    first: int
    """Number of its first frame. Its last frame is the one before the next span's first."""
    start: float
    """Seconds at which its first sample sounds."""


def spans(moments: Sequence[float | None], lengths: Sequence[float], forms: Sequence[int]) -> list[Span]:
    """Divide frames into spans.

    A frame goes to the end of the one before, unless its timestamp differs by more than SLACK. A timestamp that the
    next frame contradicts is not believed: one wrong number moves nothing. A timestamp that is early because of bursts
    is not believed either: network cameras give all packets that they send at once the time of the first.

    Args:
        moments: timestamp of each frame in seconds; None without one.
        lengths: length of each frame in seconds, by its samples.
        forms: number of each frame's form (rate, channels, format); another form begins another span.
    """
    found: list[Span] = []
    for k, (start, follows) in enumerate(_laid(moments, lengths)):
        if not found or not follows or forms[k] != forms[k - 1]:
            found.append(Span(k, start))
    return found


def lead(moments: Sequence[float | None], lengths: Sequence[float]) -> float:
    """Largest number of seconds by which a frame is placed later than its timestamp says."""
    pairs = zip(moments, _laid(moments, lengths), strict=True)
    return max((start - moment for moment, (start, _) in pairs if moment is not None), default=0.0)


def holes(moments: Sequence[float | None], lengths: Sequence[float]) -> list[tuple[float, float]]:
    """Gaps in the sound: the second at which it should have gone on, and by how much it is off.

    A negative number means that it begins again before the end of what came before.
    """
    found = spans(moments, lengths, [0] * len(moments))
    ends = [a.start + sum(lengths[a.first : b.first]) for a, b in pairwise(found)]
    return [(end, span.start - end) for end, span in zip(ends, found[1:], strict=True)]


def _laid(moments: Sequence[float | None], lengths: Sequence[float]) -> Iterator[tuple[float, bool]]:
    """The second at which each frame begins, and whether it continues the frame before."""
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
    """Whether the frame after frame k is in its place if frame k continues the one before."""
    following = moments[k + 1] if k + 1 < len(moments) else None
    return following is not None and abs(following - end) <= SLACK


def _bunched(k: int, end: float, moments: Sequence[float | None], lengths: Sequence[float]) -> bool:
    """Whether frame k is early as in bursts of packets.

    In a burst, it has the time of the frame before. A burst's first frame is early by less than a frame, if the clock
    of the bursts ticks within a frame.
    """
    moment, before = moments[k], moments[k - 1]
    if moment is None:
        return False
    if moment == before:
        return end - moment < BURST
    return k > 1 and before == moments[k - 2] and end - moment < lengths[k] + SLACK


def _nearest(k: int, end: float, moments: Sequence[float | None], lengths: Sequence[float]) -> float:
    """Seconds from the frames from k on, laid out from `end`, to the timestamp of the least early one.

    Zero if one of them within BURST agrees with its place.
    """
    nearest, at = -math.inf, end
    for moment, length in zip(islice(moments, k, None), islice(lengths, k, None), strict=False):
        if at - end > BURST or (moment is not None and moment > at + SLACK):
            break  # frames after a gap say nothing about those before it
        if moment is not None:
            nearest = max(nearest, moment - at)
        if nearest >= -ROUNDED:
            return 0.0
        at += length
    return nearest
