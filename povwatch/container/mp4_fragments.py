"""Finds the video frames in an MP4's fragments (`moof`, ISO/IEC 14496-12, 8.8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from povwatch.container.box import children
from povwatch.container.report import Incomplete

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.container.box import Box
    from povwatch.container.mp4_index import Index
    from povwatch.container.reader import Reader

BASE, DESCRIPTION, DEFAULT_DURATION, DEFAULT_SIZE = 0x1, 0x2, 0x8, 0x10
BASE_IS_MOOF = 0x020000
"""Flags of `tfhd`: which fields it has, and that offsets count from the `moof`."""

OFFSET, FIRST_FLAGS, DURATION, SIZE, FLAGS, COMPOSITION = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800
"""Flags of `trun`: which fields it has, and which fields each of its samples has."""


class _Head(NamedTuple):
    """A `tfhd`."""

    track: int
    base: int | None
    """The base of offsets, if the box has one."""
    from_moof: bool
    size: int
    """The size of samples without a size of their own."""


def place(reader: Reader, moof: Box, index: Index) -> None:
    """Add the video frames of a fragment to the index's tracks.

    Args:
        moof: a complete box.
        index: has the tracks and their default sample sizes.

    Raises:
        Incomplete: the fragment's own index is damaged.
    """
    end = moof.start
    """The end of the previous track's data."""
    for number, traf in enumerate(box for box in children(reader, moof) if box.type == b"traf"):
        boxes = list(children(reader, traf))
        head = next((_head(reader, box, index) for box in boxes if box.type == b"tfhd"), None)
        if head is None:
            raise Incomplete(f"Its index is damaged at byte {traf.start}: a fragment names no track.", video=True)
        implied = moof.start if head.from_moof or not number else end
        at = base = implied if head.base is None else head.base
        for run in (box for box in boxes if box.type == b"trun"):
            at = _run(reader, run, head, index, (base, at))
        end = at


def _head(reader: Reader, box: Box, index: Index) -> _Head:
    raw = reader.exactly(box.body, min(box.end - box.body, 40), "index")
    flags, track = int.from_bytes(raw[1:4]), int.from_bytes(raw[4:8])
    at, base = 8, None
    if flags & BASE:
        base = int.from_bytes(raw[at : at + 8])
        at += 8
    at += 4 * bool(flags & DESCRIPTION) + 4 * bool(flags & DEFAULT_DURATION)
    size = int.from_bytes(raw[at : at + 4]) if flags & DEFAULT_SIZE else index.sizes.get(track, 0)
    return _Head(track, base, bool(flags & BASE_IS_MOOF), size)


def _run(reader: Reader, box: Box, head: _Head, index: Index, places: tuple[int, int]) -> int:
    """Add the frames of a `trun`; returns the end of its data.

    Args:
        box: the `trun`.
        head: the `tfhd` of its track.
        places: the base of its offset, and the start of its frames if it has no offset.
    """
    base, at = places
    raw = reader.exactly(box.body, min(box.end - box.body, 12), "index")
    flags, count = int.from_bytes(raw[1:4]), int.from_bytes(raw[4:8])
    if flags & OFFSET:
        at = base + int.from_bytes(raw[8:12], signed=True)
    track = index.numbered.get(head.track)
    wanted = track is not None and track.compressed
    if not flags & SIZE and not wanted:
        return at + head.size * count
    for size in _sizes(reader, box, flags, count) if flags & SIZE else (head.size for _ in range(_sane(reader, count))):
        if wanted and track is not None and 0 <= at <= reader.size - size:
            track.frames.starts.append(at)
            track.frames.ends.append(at + size)
        at += size
    return at


def _sizes(reader: Reader, box: Box, flags: int, count: int) -> Iterator[int]:
    skip = 8 + 4 * bool(flags & OFFSET) + 4 * bool(flags & FIRST_FLAGS)
    before = 4 * bool(flags & DURATION)
    each = before + 4 + 4 * bool(flags & FLAGS) + 4 * bool(flags & COMPOSITION)
    if box.body + skip + each * count > box.end:
        raise Incomplete(f"A table of its index is damaged at byte {box.start}.", video=True)
    table = reader.exactly(box.body + skip, each * count, "index")
    return (int.from_bytes(table[i + before : i + before + 4]) for i in range(0, len(table), each))


def _sane(reader: Reader, count: int) -> int:
    """Check the number of samples without a size of their own. Each of them counts as a step."""
    reader.count(count)
    return count
