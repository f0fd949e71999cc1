"""Reads an MP4's index (`moov`): its tracks and the places of their samples (ISO/IEC 14496-12, 8.5 to 8.7)."""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from povwatch.container.box import children
from povwatch.container.reader import FAR
from povwatch.container.report import Incomplete
from povwatch.container.zeros import Frames

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.container.box import Box
    from povwatch.container.reader import Reader

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


def _table(reader: Reader, box: Box, skip: int, code: str) -> array[int]:
    """The big-endian integers of a table; their number is at `skip` in the box's body."""
    count = int.from_bytes(reader.exactly(box.body + skip, 4, "index"))
    numbers = array(code)
    length = count * numbers.itemsize
    if box.body + skip + 4 + length > box.end:
        raise Incomplete(f"A table of its index is damaged at byte {box.start}.")
    numbers.frombytes(reader.exactly(box.body + skip + 4, length, "index"))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _offsets(reader: Reader, tables: dict[bytes, Box]) -> array[int]:
    """The offset of each chunk."""
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
    count = int.from_bytes(reader.exactly(box.body + 4, 4, "index"))
    if box.body + 8 + 12 * count > box.end:
        raise Incomplete(f"A table of its index is damaged at byte {box.start}.")
    raw = array("I", reader.exactly(box.body + 8, 12 * count, "index"))
    if sys.byteorder == "little":
        raw.byteswap()
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
    """The number of samples in each chunk."""
    bounds = [first for first, _ in runs[1:]] + [chunks]
    chunk = 0
    for (_, samples), bound in zip(runs, bounds, strict=True):
        while chunk < min(bound, chunks):
            yield samples
            chunk += 1
    while chunk < chunks:
        yield 0
        chunk += 1
