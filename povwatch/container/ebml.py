"""Matroska and WebM: whether the Segment ends inside the file, and every cluster is there.

The rules (RFC 8794, RFC 9559):

1. An element is an ID and a size, both of variable length, and its content. A size of all ones means "unknown".
2. A Segment of known size is complete if it ends inside the file and its elements fill it.
3. A Segment of unknown size (live, or an unfinished recording) is complete as far as it goes if its last element ends
   where the file ends. Only Cues after the clusters prove that nothing more follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from povwatch.container.report import Incomplete, NoVideo, Whole
from povwatch.container.zeros import Frames, check_written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.container.reader import Reader

EBML, SEGMENT, CLUSTER, TRACKS, CUES = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1654AE6B, 0x1C53BB6B
INFO, TAGS, SEEK_HEAD, ATTACHMENTS, CHAPTERS = 0x1549A966, 0x1254C367, 0x114D9B74, 0x1941A469, 0x1043A770
IN_SEGMENT = frozenset({CLUSTER, TRACKS, CUES, INFO, TAGS, SEEK_HEAD, ATTACHMENTS, CHAPTERS})
"""Elements that end a cluster of unknown size."""

SIMPLE_BLOCK, BLOCK_GROUP, BLOCK = 0xA3, 0xA0, 0xA1
TRACK_ENTRY, TRACK_NUMBER, TRACK_TYPE, CODEC_ID = 0xAE, 0xD7, 0x83, 0x86
VIDEO, AUDIO = 1, 2

UNCOMPRESSED = b"V_UNCOMPRESSED"
SOLID = (b"V_MPEG4/ISO/AVC", b"V_MPEGH/ISO/HEVC")
"""Codecs whose frames contain no run of zeros."""

HEADER_MAX = 12
"""The most bytes of an ID and a size."""

ID_MAX = 4


class Element(NamedTuple):
    """Offsets of an element; `end` is None if its size is unknown."""

    id: int
    start: int
    body: int
    end: int | None


def walk(reader: Reader) -> Whole:
    """Walk through the file.

    Raises:
        Incomplete: a part is missing.
        NoVideo: it has no video track.
    """
    head = _element(reader, 0)
    if head is None or head.end is None or head.end >= reader.size:
        raise Incomplete("Only its first bytes have arrived.")
    segment = _element(reader, head.end)
    if segment is None or segment.id != SEGMENT:
        raise Incomplete(f"Nothing that makes sense follows byte {head.end}: it is cut off or damaged.")
    seen = _Segment(reader, segment)
    try:
        seen.walk()
    except Incomplete as verdict:
        verdict.video = seen.has_video
        raise
    return seen.judge()


class _Segment:
    def __init__(self, reader: Reader, segment: Element) -> None:
        self.reader = reader
        self.body = segment.body
        self.declared = segment.end
        self.end = reader.size if segment.end is None else min(segment.end, reader.size)
        self.has_video: bool | None = None
        self.has_sound = False
        self.frames: dict[int, Frames] = {}
        """By track number; only video tracks."""
        self.clusters = 0
        self.skipped = False
        """Whether clusters were skipped, because there are too many."""
        self.cues_last = False

    def walk(self) -> None:
        """Visit every element, also those of clusters, because zeros may be anywhere."""
        offset = self.body
        while offset < self.end:
            element = self._next(offset)
            if element.id == CLUSTER:
                self.clusters += 1
                self.cues_last = False
                offset = self._cluster(element)
                continue
            if element.end is None:
                raise Incomplete(f"It is damaged at byte {offset}.")
            self._inside(element.end)
            if element.id == TRACKS:
                self._tracks(element, element.end)
            self.cues_last = self.cues_last or (element.id == CUES and self.clusters > 0)
            offset = element.end

    def judge(self) -> Whole:
        """The verdict after all elements were visited."""
        self._inside(self.end if self.declared is None else self.declared)
        if self.has_video is None:
            raise Incomplete("The list of its tracks is missing.")
        if not self.has_video:
            raise NoVideo("sound only" if self.has_sound else "a Matroska file without a video track")
        if not self.skipped and self.frames and not any(frames.starts for frames in self.frames.values()):
            raise Incomplete("It holds no frames yet.", video=True)
        check_written(self.reader, list(self.frames.values()))
        return Whole(end_known=self.declared is not None or self.cues_last)

    def _cluster(self, cluster: Element) -> int:
        """Visit a cluster; returns its end."""
        if cluster.end is not None and self.reader.tired():
            self._inside(cluster.end)
            self.skipped = True
            return cluster.end
        offset = cluster.body
        limit = self.end if cluster.end is None else cluster.end
        while offset < min(limit, self.end):
            element = self._next(offset)
            if cluster.end is None and element.id in IN_SEGMENT:
                return offset
            if element.end is None or element.end > limit:
                self._inside(limit)
                raise Incomplete(f"It is cut off or damaged at byte {offset}.")
            self._inside(element.end)
            if element.id in {SIMPLE_BLOCK, BLOCK}:
                self._block(element, element.end)
            offset = element.body if element.id == BLOCK_GROUP else element.end  # a group's elements come next
        self._inside(limit)
        return limit

    def _block(self, block: Element, end: int) -> None:
        """Note the place of a video frame. It follows the track's number, a 16-bit time and the flags."""
        raw = self.reader.read(block.body, 8)
        number, length = _vint(raw, 0, keep_marker=False)
        if number in self.frames:
            self.frames[number].starts.append(block.body + length + 3)
            self.frames[number].ends.append(end)

    def _tracks(self, tracks: Element, end: int) -> None:
        self.has_video = False
        for entry, entry_end in self._inside_tracks(tracks.body, end):
            if entry.id == TRACK_ENTRY:
                self._track(entry, entry_end)

    def _track(self, entry: Element, end: int) -> None:
        number, kind, codec = 0, 0, b""
        for element, element_end in self._inside_tracks(entry.body, end):
            if element.id in {TRACK_NUMBER, TRACK_TYPE, CODEC_ID}:
                raw = self.reader.exactly(element.body, element_end - element.body, "list of tracks")
                if element.id == TRACK_NUMBER:
                    number = int.from_bytes(raw)
                elif element.id == TRACK_TYPE:
                    kind = int.from_bytes(raw)
                else:
                    codec = raw.rstrip(b"\0")
        self.has_video = self.has_video or kind == VIDEO
        self.has_sound = self.has_sound or kind == AUDIO
        if kind == VIDEO and codec != UNCOMPRESSED:
            self.frames[number] = Frames(solid=codec in SOLID)

    def _inside_tracks(self, offset: int, end: int) -> Iterator[tuple[Element, int]]:
        """The elements of a part of the list of tracks, each with its end."""
        while offset < end:
            element = self._next(offset)
            if element.end is None or element.end > end:
                raise Incomplete(f"The list of its tracks is damaged at byte {offset}.")
            yield element, element.end
            offset = element.end

    def _next(self, offset: int) -> Element:
        element = _element(self.reader, offset)
        if element is not None:
            return element
        if self.reader.size - offset < HEADER_MAX:
            raise Incomplete("It is cut off.", have=self.reader.size, need=self.declared)
        if self.reader.is_zero(offset, HEADER_MAX):
            raise Incomplete(f"It holds only zeros from byte {offset}.", have=offset, need=self.reader.size)
        raise Incomplete(f"It is damaged at byte {offset}.")

    def _inside(self, end: int) -> None:
        """Raise Incomplete if `end` is beyond the end of the file."""
        if end > self.reader.size:
            raise Incomplete("It is cut off.", have=self.reader.size, need=self.declared)


def _element(reader: Reader, offset: int) -> Element | None:
    """The element that starts at `offset`; None if there is none."""
    raw = reader.read(offset, HEADER_MAX)
    ident, id_length = _vint(raw, 0, keep_marker=True)
    size, size_length = _vint(raw, id_length, keep_marker=False)
    if not 0 < id_length <= ID_MAX or not size_length:
        return None
    body = offset + id_length + size_length
    unknown = size == (1 << (7 * size_length)) - 1
    return Element(ident, offset, body, None if unknown else body + size)


def _vint(raw: bytes, at: int, *, keep_marker: bool) -> tuple[int, int]:
    """A number of variable length (RFC 8794, 4) and its length in bytes; length 0 if there is none."""
    if at >= len(raw) or not raw[at]:
        return 0, 0
    length = 9 - raw[at].bit_length()
    if at + length > len(raw):
        return 0, 0
    value = int.from_bytes(raw[at : at + length])
    return value if keep_marker else value & ((1 << (7 * length)) - 1), length
