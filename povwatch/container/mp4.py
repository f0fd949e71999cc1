"""MP4, M4V and QuickTime: whether every box is there, and every sample inside the file.

The rules (ISO/IEC 14496-12):

1. Boxes follow one another from byte 0: a 32-bit size, then a type. Size 1 means that a 64-bit size follows, size 0
   means "to the end".
2. A progressive file is complete if `moov` is complete, an `mdat` exists, and every sample that `moov` lists is inside
   the file. Anything may follow (a camera maker's trailer), except a known box that is cut off.
3. A fragmented file (`mvex` in `moov`) is complete if its boxes fill it exactly and the last fragment has its `mdat`.
   Only `sidx` or `mfra` prove that no further fragment follows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from povwatch.container import mp4_index
from povwatch.container.mp4_index import HEADER, Box, header
from povwatch.container.report import Incomplete, NoVideo, Whole
from povwatch.container.zeros import check_written

if TYPE_CHECKING:
    from povwatch.container.mp4_index import Index
    from povwatch.container.reader import Reader

KNOWN = frozenset(
    b"ftyp moov mdat free skip wide uuid udta meta moof mfra sidx styp ssix emsg prft pdin pnot PICT bloc".split()
)
"""Types of top-level boxes. After the last sample only these can be cut off; other bytes are a trailer."""


def walk(reader: Reader) -> Whole:
    """Walk through the file.

    Raises:
        Incomplete: a part is missing.
        NoVideo: its index shows that it has no video track.
    """
    top = _Top()
    offset = 0
    while offset < reader.size:
        box = header(reader, offset, reader.size)
        if box is None or (box.end > reader.size and box.type not in KNOWN):
            top.trailer = offset
            break
        top.take(box, reader)
        offset = min(box.end, reader.size)
    return _judge(reader, top)


@dataclass(slots=True)
class _Top:
    moov: Box | None = None
    mdat: bool = False
    cut: Box | None = None
    """The box that extends beyond the file's end."""
    fragments: list[Box] = field(default_factory=list)
    """The `moof` of each fragment with an `mdat`."""
    owed: list[Box] = field(default_factory=list)
    """The `moof` boxes that still lack their `mdat`."""
    finished: bool = False
    """Whether `mfra` was seen, with which a writer ends the file."""
    indexed_end: int = 0
    """The end of the last fragment that `sidx` lists."""
    trailer: int | None = None
    """The offset from which on there are no valid boxes."""

    def take(self, box: Box, reader: Reader) -> None:
        """Note a box."""
        if box.end > reader.size:
            self.cut = box
        if box.type == b"mdat":
            self.fragments += self.owed
            self.mdat, self.owed = True, []
        elif self.cut is None and box.type == b"moov":
            self.moov = self.moov or box
        elif box.type == b"moof":
            self.owed.append(box)
        elif box.type == b"mfra":
            self.finished = True
        elif self.cut is None and box.type == b"sidx":
            self.indexed_end = max(self.indexed_end, _sidx_end(reader, box))


def _judge(reader: Reader, top: _Top) -> Whole:
    if top.moov is None:
        raise _without_index(reader, top)
    index = mp4_index.read(reader, top.moov)
    if index.compressed:  # QuickTime's zlib-packed index, not written since the 1990s; the demuxer decides
        return _all_boxes_there(reader, top, Whole(video=None))
    if not index.tracks:
        raise Incomplete("Its index lists no tracks yet.")
    if not index.has_video:
        sound = any(track.handler == b"soun" for track in index.tracks)
        raise NoVideo("sound only" if sound else "an MP4 without a video track")
    open_ended = index.fragmented and not top.indexed_end  # more fragments may follow, so there is no percentage
    need = max(index.end, top.indexed_end, top.cut.end if top.cut and not open_ended else 0)
    if need > reader.size:
        raise Incomplete("It is cut off.", have=reader.size, need=need, video=True)
    if index.fragmented and (top.fragments or not index.end):
        return _fragments(reader, top, index)
    if not index.end:
        raise Incomplete("Its index lists no frames yet.", video=True)
    if not top.mdat:
        raise Incomplete("The part with the frames (mdat) is missing.", video=True)
    check_written(reader, index.packed)
    return Whole()


def _without_index(reader: Reader, top: _Top) -> Incomplete:
    if top.cut is not None:
        # Before the frames begin, the file does not tell its size.
        return Incomplete("It is cut off.", have=reader.size, need=top.cut.end if top.mdat else None)
    if top.trailer is not None and top.trailer + HEADER <= reader.size:
        where = f"from byte {top.trailer}"
        if reader.is_zero(top.trailer, HEADER):
            return Incomplete(f"It holds only zeros {where}.", have=top.trailer, need=reader.size)
        return Incomplete(f"Its index (moov) is missing, and {where} it is no MP4 any more.")
    return Incomplete("Its index (moov) is missing: it is still coming in, or its recording was cut short.")


def _fragments(reader: Reader, top: _Top, index: Index) -> Whole:
    if top.owed or not top.fragments:
        raise Incomplete("The frames of its last fragment are missing.", video=True)
    verdict = _all_boxes_there(reader, top, Whole(end_known=top.finished or bool(top.indexed_end)))
    for moof in top.fragments:
        if reader.tired():
            break
        mp4_index.add_fragment(reader, moof, index)
    check_written(reader, index.packed)
    return verdict


def _all_boxes_there(reader: Reader, top: _Top, verdict: Whole) -> Whole:
    if top.cut is not None:
        raise Incomplete("It is cut off.", video=verdict.video)
    if top.trailer is not None:
        at = top.trailer
        if at + HEADER <= reader.size and reader.is_zero(at, HEADER):
            raise Incomplete(f"It holds only zeros from byte {at}.", have=at, need=reader.size, video=True)
        raise Incomplete(f"It is cut off or damaged at byte {at}.", video=True)
    return verdict


def _sidx_end(reader: Reader, box: Box) -> int:
    """The end of the last subsegment that a `sidx` lists (14496-12, 8.16.3)."""
    raw = reader.exactly(box.body, box.end - box.body, "segment index")
    wide = raw[:1] != b"\0"
    at = 12 + (8 if wide else 4)
    first = int.from_bytes(raw[at : at + (8 if wide else 4)])
    at += (8 if wide else 4) + 2
    count = int.from_bytes(raw[at : at + 2])
    sizes = (int.from_bytes(raw[at + 2 + 12 * i : at + 6 + 12 * i]) & 0x7FFFFFFF for i in range(count))
    return box.end + first + sum(sizes)
