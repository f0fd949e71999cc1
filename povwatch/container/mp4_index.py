"""Reads an MP4's boxes, its index (`moov`), and those of its fragments (`moof`): where each sample is.

Source: ISO/IEC 14496-12, 4.2 (boxes), 8.5 to 8.7 (index), 8.8 (fragments).
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from povwatch.container.reader import FAR
from povwatch.container.report import Incomplete
from povwatch.container.zeros import Frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.container.reader import Reader

HEADER = 8
"""Bytes of a box's header: size and type."""

HEADER_64 = 16
"""The same with a 64-bit size."""

UNCOMPRESSED = frozenset(
    fourcc.ljust(4).encode()
    for names in (
        "raw yuv2 yuvs 2vuy 2Vuy v210 V210 v216 v308 v408 v410 Y41P y420 j420 I420 IYUV YV12 NV12 Y800 UYVY YUY2 YUYV",
        "b16g b48r b64a b32a BGRA RGBA ABGR ARGB rgb BGR 24BG L555 B555 L565 B565 bxbg bxrg bxyv r210 R10k R10g NO16",
        "DVOO uncv",
    )
    for fourcc in names.split()
)
"""Video formats in which zeros are black."""

SOLID = frozenset([b"avc1", b"avc2", b"avc3", b"avc4", b"hvc1", b"hvc2", b"hev1", b"hev2", b"dvh1", b"dvhe"])
"""H.264 and H.265. A start code never occurs inside a frame, so a run of zeros does not either."""


NESTING = 8
"""The most levels of boxes in a track; the tables are on the third."""

BASE, DESCRIPTION, DEFAULT_DURATION, DEFAULT_SIZE = 0x1, 0x2, 0x8, 0x10
BASE_IS_MOOF = 0x020000
"""Flags of `tfhd`: which fields it has, and that offsets count from the `moof`."""

OFFSET, FIRST_FLAGS, DURATION, SIZE, FLAGS, COMPOSITION = 0x1, 0x4, 0x100, 0x200, 0x400, 0x800
"""Flags of `trun`: which fields it has, and which fields each of its samples has."""


class Box(NamedTuple):
    """Offsets of a box: of its header, of its body, and of its declared end, which may be beyond the file's end."""

    type: bytes
    start: int
    body: int
    end: int


def header(reader: Reader, offset: int, limit: int) -> Box | None:
    """The box that starts at `offset`; None if there cannot be one.

    `limit` is the end of a box that extends "to the end".
    """
    raw = reader.read(offset, HEADER_64)
    if len(raw) < HEADER:
        return None
    size, kind = int.from_bytes(raw[:4]), raw[4:HEADER]
    if not all(0x20 <= byte <= 0x7E or byte == 0xA9 for byte in kind):  # noqa: PLR2004 - ASCII, and QuickTime's (c)
        return None
    if size == 0:
        return Box(kind, offset, offset + HEADER, limit)
    if size == 1:
        size = int.from_bytes(raw[HEADER:HEADER_64])
        if len(raw) < HEADER_64 or not HEADER_64 <= size < FAR:
            return None
        return Box(kind, offset, offset + HEADER_64, offset + size)
    return Box(kind, offset, offset + HEADER, offset + size) if size >= HEADER else None


def children(reader: Reader, parent: Box) -> Iterator[Box]:
    """The boxes inside a complete box.

    Raises:
        Incomplete: they do not fit into it.
    """
    offset = parent.body
    while parent.end - offset >= HEADER:
        box = header(reader, offset, parent.end)
        if box is None or box.end > parent.end:
            raise Incomplete(f"Its index is damaged at byte {offset}.")
        yield box
        offset = box.end


@dataclass(slots=True)
class Track:
    """A track. `frames` has one entry per sample, or per chunk if all samples have the same size."""

    number: int = 0
    handler: bytes = b""
    """`vide`, `soun`, ..."""
    codec: bytes = b""
    frames: Frames = field(default_factory=Frames)

    @property
    def compressed(self) -> bool:
        """Whether a frame of zeros is always a missing one. Only for video: silence may be coded as zeros."""
        return self.handler == b"vide" and self.codec not in UNCOMPRESSED


@dataclass(slots=True)
class Index:
    """The contents of a `moov`."""

    tracks: list[Track] = field(default_factory=list)
    fragmented: bool = False
    compressed: bool = False
    """Whether the index is compressed (`cmov`), and so was not read."""
    sizes: dict[int, int] = field(default_factory=dict)
    """Track to the default size of its samples in fragments."""

    @property
    def numbered(self) -> dict[int, Track]:
        """The tracks by number."""
        return {track.number: track for track in self.tracks}

    @property
    def has_video(self) -> bool:
        """Whether any track is video."""
        return any(track.handler == b"vide" for track in self.tracks)

    @property
    def packed(self) -> list[Frames]:
        """The frames of every track of compressed video."""
        return [track.frames for track in self.tracks if track.compressed]

    @property
    def end(self) -> int:
        """The end of the last sample; 0 if none is listed."""
        return max((track.frames.end for track in self.tracks), default=0)


def read(reader: Reader, moov: Box) -> Index:
    """Read the index from a complete `moov`.

    Raises:
        Incomplete: it is damaged.
    """
    index = Index()
    for box in children(reader, moov):
        if box.type == b"trak":
            index.tracks.append(_track(reader, box))
        elif box.type == b"mvex":
            index.fragmented = True
            for inner in children(reader, box):
                if inner.type == b"trex":
                    raw = reader.exactly(inner.body, 20, "index")
                    index.sizes[int.from_bytes(raw[4:8])] = int.from_bytes(raw[16:20])
        elif box.type == b"cmov":
            index.compressed = True
    return index


def _track(reader: Reader, trak: Box) -> Track:
    track = Track()
    tables: dict[bytes, Box] = {}
    for box in _below(reader, trak):
        if box.type == b"hdlr" and not track.handler:  # QuickTime has a second one, for the data, inside minf
            track.handler = reader.exactly(box.body, 12, "index")[8:12]
        elif box.type == b"tkhd":
            raw = reader.exactly(box.body, 24, "index")
            track.number = int.from_bytes(raw[20:24] if raw[0] else raw[12:16])
        elif box.type == b"stsd":
            track.codec = reader.exactly(box.body, 16, "index")[12:16]
            track.frames.solid = track.codec in SOLID
        else:
            tables[box.type] = box
    offsets = _offsets(reader, tables)
    if offsets:
        _place(track, offsets, _runs(reader, tables), _sizes(reader, tables))
    return track


def _below(reader: Reader, parent: Box, depth: int = 0) -> Iterator[Box]:
    """All boxes of a track, at every level."""
    if depth > NESTING:
        raise Incomplete(f"Its index is damaged at byte {parent.start}: boxes within boxes without end.")
    for box in children(reader, parent):
        if box.type in {b"mdia", b"minf", b"stbl"}:
            yield from _below(reader, box, depth + 1)
        else:
            yield box


def _table(reader: Reader, box: Box, skip: int, code: str, *, columns: int = 1) -> array[int]:
    """The big-endian integers of a table; the number of its rows is at `skip` in the box's body."""
    count = int.from_bytes(reader.exactly(box.body + skip, 4, "index"))
    numbers = array(code)
    length = count * columns * numbers.itemsize
    if box.body + skip + 4 + length > box.end:
        raise Incomplete(f"A table of its index is damaged at byte {box.start}.")
    numbers.frombytes(reader.exactly(box.body + skip + 4, length, "index"))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _offsets(reader: Reader, tables: dict[bytes, Box]) -> array[int]:
    if (box := tables.get(b"stco")) is not None:
        return _table(reader, box, 4, "I")
    if (box := tables.get(b"co64")) is not None:
        places = _table(reader, box, 4, "Q")
        if max(places, default=0) >= FAR:
            raise Incomplete(f"A table of its index is damaged at byte {box.start}.")
        return places
    return array("Q")


def _runs(reader: Reader, tables: dict[bytes, Box]) -> list[tuple[int, int]]:
    """Pairs of a first chunk, counted from 0, and the samples per chunk from there on; in rising order."""
    box = tables.get(b"stsc")
    if box is None:
        raise Incomplete("A table of its index (stsc) is missing.")
    raw = _table(reader, box, 4, "I", columns=3)
    return [(first - 1, samples) for first, samples in zip(raw[0::3], raw[1::3], strict=True)]


def _sizes(reader: Reader, tables: dict[bytes, Box]) -> array[int] | tuple[int, int]:
    """The size of each sample, or a pair of the common size and the number of samples."""
    if (box := tables.get(b"stsz")) is not None:
        uniform, count = (int.from_bytes(reader.exactly(box.body + at, 4, "index")) for at in (4, 8))
        return (uniform, count) if uniform else _table(reader, box, 8, "I")
    if (box := tables.get(b"stz2")) is not None:
        return _compact(reader, box)
    raise Incomplete("A table of its index (stsz) is missing.")


def _compact(reader: Reader, box: Box) -> array[int]:
    """`stz2`: sizes of 4, 8 or 16 bits."""
    head = reader.exactly(box.body, 12, "index")
    bits, count = head[7], int.from_bytes(head[8:12])
    length = (count * bits + 7) // 8
    if bits not in {4, 8, 16} or box.body + 12 + length > box.end:
        raise Incomplete(f"A table of its index is damaged at byte {box.start}.")
    raw = reader.exactly(box.body + 12, length, "index", unpacked=4 * count)
    if bits == 16:  # noqa: PLR2004 - bits
        return array("I", (int.from_bytes(raw[i : i + 2]) for i in range(0, length, 2)))
    if bits == 8:  # noqa: PLR2004 - bits
        return array("I", raw)
    return array("I", [half for byte in raw for half in (byte >> 4, byte & 15)][:count])


def _place(track: Track, offsets: array[int], runs: list[tuple[int, int]], sizes: array[int] | tuple[int, int]) -> None:
    """Fill in the byte ranges: one per sample, or one per chunk if all samples have the same size."""
    if not runs:
        raise Incomplete("A table of its index (stsc) is empty.")
    done = 0
    for chunk, samples in zip(offsets, _per_chunk(runs, len(offsets)), strict=True):
        if isinstance(sizes, tuple):
            uniform, total = sizes
            samples = min(samples, total - done)  # noqa: PLW2901 - the last chunk may claim more than there are
            track.frames.starts.append(chunk)
            track.frames.ends.append(min(chunk + uniform * samples, FAR))
        else:
            at = chunk
            for size in sizes[done : done + samples]:
                track.frames.starts.append(at)
                at += size
                track.frames.ends.append(at)
        done += samples


def _per_chunk(runs: list[tuple[int, int]], chunks: int) -> Iterator[int]:
    bounds = [first for first, _ in runs[1:]] + [chunks]
    chunk = 0
    for (_, samples), bound in zip(runs, bounds, strict=True):
        while chunk < min(bound, chunks):
            yield samples
            chunk += 1
    while chunk < chunks:
        yield 0
        chunk += 1


# -- fragments


class _FragmentHead(NamedTuple):
    track: int
    base: int | None
    """The base of offsets, if the box has one."""
    from_moof: bool
    size: int
    """The size of samples without a size of their own."""


def add_fragment(reader: Reader, moof: Box, index: Index) -> None:
    """Add the video frames of a fragment to the index's tracks.

    Args:
        index: has the tracks and their default sample sizes.

    Raises:
        Incomplete: the fragment's own index is damaged.
    """
    end = moof.start
    """The end of the previous track's data."""
    for number, traf in enumerate(box for box in children(reader, moof) if box.type == b"traf"):
        boxes = list(children(reader, traf))
        head = next((_fragment_head(reader, box, index) for box in boxes if box.type == b"tfhd"), None)
        if head is None:
            raise Incomplete(f"Its index is damaged at byte {traf.start}: a fragment names no track.", video=True)
        implied = moof.start if head.from_moof or not number else end
        at = base = implied if head.base is None else head.base
        for run in (box for box in boxes if box.type == b"trun"):
            at = _run(reader, run, head, index, (base, at))
        end = at


def _fragment_head(reader: Reader, box: Box, index: Index) -> _FragmentHead:
    raw = reader.exactly(box.body, min(box.end - box.body, 40), "index")
    flags, track = int.from_bytes(raw[1:4]), int.from_bytes(raw[4:8])
    at, base = 8, None
    if flags & BASE:
        base = int.from_bytes(raw[at : at + 8])
        at += 8
    at += 4 * bool(flags & DESCRIPTION) + 4 * bool(flags & DEFAULT_DURATION)
    size = int.from_bytes(raw[at : at + 4]) if flags & DEFAULT_SIZE else index.sizes.get(track, 0)
    return _FragmentHead(track, base, bool(flags & BASE_IS_MOOF), size)


def _run(reader: Reader, box: Box, head: _FragmentHead, index: Index, places: tuple[int, int]) -> int:
    """Add the frames of a `trun`; returns the end of its data.

    Args:
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
    if flags & SIZE:
        sizes = _run_sizes(reader, box, flags, count)
    else:
        reader.count(count)  # a count without a table may be any number
        sizes = repeat(head.size, count)
    for size in sizes:
        if wanted and track is not None and 0 <= at <= reader.size - size:
            track.frames.starts.append(at)
            track.frames.ends.append(at + size)
        at += size
    return at


def _run_sizes(reader: Reader, box: Box, flags: int, count: int) -> Iterator[int]:
    skip = 8 + 4 * bool(flags & OFFSET) + 4 * bool(flags & FIRST_FLAGS)
    before = 4 * bool(flags & DURATION)
    each = before + 4 + 4 * bool(flags & FLAGS) + 4 * bool(flags & COMPOSITION)
    if box.body + skip + each * count > box.end:
        raise Incomplete(f"A table of its index is damaged at byte {box.start}.", video=True)
    table = reader.exactly(box.body + skip, each * count, "index")
    return (int.from_bytes(table[i + before : i + before + 4]) for i in range(0, len(table), each))
