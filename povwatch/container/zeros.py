"""Finds space that was reserved but never written: holes, and zeros in the place of frames."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from povwatch.container.report import Incomplete

if TYPE_CHECKING:
    from povwatch.container.reader import Reader

PROBE = 32
"""Bytes at the start of a compressed frame that are never all zero: every codec begins with a length or a mark."""

BLOCK = 4096
"""Bytes of a file-system block: the smallest hole, and the shortest run of zeros that counts inside a frame."""

PROBES = 2048
"""The most frames that are probed in a track, evenly spread. Downloaders fill pieces of 16 KiB to 16 MiB."""


@dataclass(slots=True)
class Frames:
    """The byte ranges of a track's frames; `starts` and `ends` run in parallel."""

    starts: array[int] = field(default_factory=lambda: array("Q"))
    ends: array[int] = field(default_factory=lambda: array("Q"))
    solid: bool = False
    """Whether no frame contains a block of zeros.

    Other codecs may pad their frames with zeros, and `cp --sparse=always` makes holes of those.
    """

    @property
    def end(self) -> int:
        """The end of the last frame; 0 without frames."""
        return max(self.ends, default=0)


def unwritten(reader: Reader, at: int) -> Incomplete:
    """The verdict for zeros at byte `at`, in the place of a frame or of an index."""
    why = f"Its space is reserved but not filled: there are only zeros at byte {at}."
    return Incomplete(why, have=at, need=reader.size, video=True)


def check_written(reader: Reader, tracks: list[Frames]) -> None:
    """Look for frames of compressed video that were never written.

    Raises:
        Incomplete: one was found.
    """
    holes = [(low, high) for low, high in reader.holes() if high - low >= BLOCK]
    reader.count(len(holes) * len(tracks))
    found = [_in_holes(holes, track) for track in tracks if holes]
    found += [_in_probes(reader, track) for track in tracks]
    missing = min((at for at in found if at is not None), default=None)
    if missing is not None:
        raise unwritten(reader, missing)


def _in_holes(holes: list[tuple[int, int]], track: Frames) -> int | None:
    """The first frame that begins in a hole, or contains one although its codec has no zeros."""
    starts, ends = sorted(track.starts), sorted(track.ends)  # frames do not overlap, so both have the same order
    for low, high in holes:
        after = bisect_left(starts, low)
        if track.solid and after and min(ends[after - 1], high) - low >= BLOCK:
            return low
        if after < len(starts) and starts[after] + PROBE <= high:
            return starts[after]
    return None


def _in_probes(reader: Reader, track: Frames) -> int | None:
    """The first probed frame that begins with zeros, or contains a block of them although its codec has none."""
    count = len(track.starts)
    chosen = [*range(0, count, max(1, count // PROBES)), count - 1] if count else []
    for i in chosen:
        start: int = track.starts[i]
        end: int = track.ends[i]
        if end - start >= PROBE and reader.is_zero(start, PROBE):
            return start
        middle = start + (end - start) // 2
        if track.solid and end - middle >= BLOCK and reader.is_zero(middle, BLOCK):
            return middle
    return None
