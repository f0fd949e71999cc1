"""AVI: whether every RIFF chunk is there, and the index points at frames.

The rules (Microsoft's AVI RIFF reference; OpenDML AVI File Format Extensions 1.02):

1. A file is `RIFF AVI `, then any number of `RIFF AVIX`, each with its size. A recorder writes the size last; until
   then it is 0 or all ones.
2. It is complete if every RIFF chunk ends inside the file, each part that the super index (`indx`) names is inside,
   and there is an index (`idx1`) if the header promises one.
3. The index says where frames are. Zeros elsewhere are padding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from povwatch.container.reader import FAR
from povwatch.container.report import Incomplete, NoVideo, Whole
from povwatch.container.zeros import Frames, check_written, unwritten

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.container.reader import Reader


HEADER = 8
"""Bytes of a chunk's name and size."""

LIST_HEADER = 12
"""The same for a list, whose own name follows."""

UNFINISHED = frozenset({0, 0xFFFFFFFF})
"""Sizes that a recorder writes while it does not know the real one."""

HAS_INDEX = 0x10
"""AVIF_HASINDEX in the flags of `avih`."""

ENTRY_IDX1 = 16
ENTRY_SUPER = 16
SUPER_HEADER = 24

UNCOMPRESSED = frozenset(
    [b"\0\0\0\0", b"DIB ", b"RGB ", b"RAW ", b"YUY2", b"UYVY", b"YV12", b"I420", b"IYUV", b"v210", b"Y800"]
)
"""Formats in which a frame of zeros is a black one."""

SOLID = frozenset([b"H264", b"h264", b"X264", b"x264", b"avc1", b"AVC1", b"HEVC", b"hevc", b"H265", b"hvc1"])
"""Codecs whose frames contain no run of zeros."""


@dataclass(slots=True)
class _Film:
    streams: list[tuple[bytes, bytes]] = field(default_factory=list)
    """Pairs of `vids` or `auds` and the codec, by stream number."""
    frames: dict[int, Frames] = field(default_factory=dict)
    """By stream number."""
    indexed: bool = False
    """Whether the header promises an index."""
    need: int = 0
    """The end of the last part that the super index names."""
    movi: Chunk | None = None
    idx1: Chunk | None = None
    super_index: bool = False


class Chunk(NamedTuple):
    """Offsets of a chunk. Of a LIST or RIFF, `type` is the name after the size, and `body` follows that name."""

    type: bytes
    start: int
    body: int
    end: int
    size: int


def chunk_at(reader: Reader, offset: int) -> Chunk | None:
    """The chunk that starts at an offset; None if its header is incomplete."""
    raw = reader.read(offset, LIST_HEADER)
    if len(raw) < HEADER:
        return None
    name, size = raw[:4], int.from_bytes(raw[4:HEADER], "little")
    end = offset + HEADER + size + size % 2
    if name in {b"RIFF", b"LIST"}:
        return Chunk(raw[HEADER:], offset, offset + LIST_HEADER, end, size) if len(raw) == LIST_HEADER else None
    return Chunk(name, offset, offset + HEADER, end, size)


def chunks(reader: Reader, offset: int, end: int) -> Iterator[Chunk]:
    """The chunks between two offsets. The last one may extend beyond `end`; zeros between chunks end the walk."""
    while end - offset >= HEADER:
        chunk = chunk_at(reader, offset)
        if chunk is None or not chunk.type.strip(b"\0"):
            return
        yield chunk
        offset = chunk.end


def walk(reader: Reader) -> Whole:
    """Walk through the file.

    Raises:
        Incomplete: a part is missing.
        NoVideo: it has no video stream.
    """
    film = _Film()
    for riff in _riffs(reader):
        for chunk in chunks(reader, riff.body, min(riff.end, reader.size)):
            _take(reader, film, chunk)
        need = max(riff.start + HEADER + riff.size, film.need)  # some writers leave out the last padding byte
        if riff.size in UNFINISHED:
            raise Incomplete("Its recorder has not finished it.", video=_has_video(film))
        if need > reader.size:
            raise Incomplete("It is cut off.", have=reader.size, need=need, video=_has_video(film))
    return _judge(reader, film)


def _judge(reader: Reader, film: _Film) -> Whole:
    if film.streams and not _has_video(film):
        raise NoVideo(
            "sound only" if any(kind == b"auds" for kind, _ in film.streams) else "an AVI without a video stream"
        )
    if not film.streams or film.movi is None:
        raise Incomplete("Its headers or its frames are missing.")
    if film.indexed and film.idx1 is None and not film.super_index:
        raise Incomplete("The index that its header promises is missing.", video=True)
    if film.idx1 is not None and not film.super_index:
        _index(reader, film, film.idx1, film.movi)
    elif not film.super_index:
        _without_index(reader, film, film.movi)
    if not any(frames.starts for frames in film.frames.values()):
        raise Incomplete("It holds no frames yet.", video=True)
    packed = [frames for number, frames in film.frames.items() if film.streams[number][1] not in UNCOMPRESSED]
    check_written(reader, packed)
    return Whole()


def _take(reader: Reader, film: _Film, chunk: Chunk) -> None:
    if chunk.type == b"hdrl" and chunk.end <= reader.size:
        for inner in chunks(reader, chunk.body, chunk.end):
            if inner.type == b"avih":
                film.indexed = bool(int.from_bytes(reader.read(inner.body + 12, 4), "little") & HAS_INDEX)
            elif inner.type == b"strl":
                _stream(reader, film, inner)
    elif chunk.type == b"movi":
        film.movi = film.movi or chunk
    elif chunk.type == b"idx1":
        film.idx1 = film.idx1 or chunk


def _stream(reader: Reader, film: _Film, strl: Chunk) -> None:
    number = len(film.streams)
    kind = codec = b""
    for chunk in chunks(reader, strl.body, strl.end):
        if chunk.type == b"strh":
            kind = reader.read(chunk.body, 4)
        elif chunk.type == b"strf":
            codec = reader.read(chunk.body + 16, 4)
        elif chunk.type == b"indx" and kind == b"vids":
            film.frames[number] = Frames(solid=codec in SOLID)
            _super_index(reader, film, chunk, number)
    if kind == b"vids":
        film.frames.setdefault(number, Frames(solid=codec in SOLID))
    film.streams.append((kind, codec))


def _super_index(reader: Reader, film: _Film, indx: Chunk, number: int) -> None:
    """OpenDML's index of indexes: 16 bytes for each `ix##` chunk, which begin with its offset and size.

    A super index without entries is space that a recorder reserved; then `idx1` counts.
    """
    raw = reader.exactly(indx.body, indx.end - indx.body, "index")
    count = int.from_bytes(raw[4:8], "little") if raw[3:4] == b"\0" else 0
    for at in range(SUPER_HEADER, min(SUPER_HEADER + count * ENTRY_SUPER, len(raw) - ENTRY_SUPER + 1), ENTRY_SUPER):
        place = int.from_bytes(raw[at : at + 8], "little")
        size = int.from_bytes(raw[at + 8 : at + 12], "little")
        if not place:
            continue
        film.super_index = True
        film.need = max(film.need, place + size)
        if place + size <= reader.size:
            _standard_index(reader, film, place, number)


def _standard_index(reader: Reader, film: _Film, place: int, number: int) -> None:
    """OpenDML's `ix##`: a base, then offset and size of each frame.

    The size's top bit marks frames that are no key frames.
    """
    head = reader.exactly(place, HEADER + SUPER_HEADER, "index")
    if head[:2] != b"ix":
        if not head.strip(b"\0"):
            raise unwritten(reader, place)
        raise Incomplete(f"Its index is damaged at byte {place}.", video=True)
    count, base = int.from_bytes(head[12:16], "little"), int.from_bytes(head[20:28], "little")
    if base >= FAR:
        raise Incomplete(f"Its index is damaged at byte {place}.", video=True)
    entries = reader.exactly(place + HEADER + SUPER_HEADER, 8 * count, "index")
    frames = film.frames[number]
    for at in range(0, len(entries), 8):
        start = base + int.from_bytes(entries[at : at + 4], "little")
        size = int.from_bytes(entries[at + 4 : at + 8], "little") & 0x7FFFFFFF
        frames.starts.append(start)
        frames.ends.append(start + size)
        film.need = max(film.need, start + size)


def _index(reader: Reader, film: _Film, idx1: Chunk, movi: Chunk) -> None:
    """The old index: name, flags, offset and size of each chunk. Offsets count from `movi` or from the file's start."""
    raw = reader.exactly(idx1.body, idx1.end - idx1.body, "index")
    base = None
    for at in range(0, len(raw) - ENTRY_IDX1 + 1, ENTRY_IDX1):
        name = raw[at : at + 4]
        place = int.from_bytes(raw[at + 8 : at + 12], "little")
        size = int.from_bytes(raw[at + 12 : at + 16], "little")
        if base is None:
            base = 0 if reader.read(place, 4) == name and place >= movi.start else movi.body - 4
        start = base + place + HEADER
        if start + size > reader.size:
            raise Incomplete("It is cut off.", have=reader.size, need=start + size, video=True)
        _frame(film, name, start, size)


def _without_index(reader: Reader, film: _Film, movi: Chunk) -> None:
    """Read the chunks one after the other, if there is no index."""
    stack = [(movi.body, movi.end)]
    while stack:
        low, high = stack.pop()
        for chunk in chunks(reader, low, high):
            if chunk.type == b"rec ":
                stack.append((chunk.body, chunk.end))
            else:
                _frame(film, chunk.type, chunk.body, chunk.size)


def _frame(film: _Film, name: bytes, start: int, size: int) -> None:
    """Add a video frame; `00dc` names a frame of stream 0."""
    if name[:2].isdigit() and name[2:] in {b"dc", b"db"} and (frames := film.frames.get(int(name[:2]))) is not None:
        frames.starts.append(start)
        frames.ends.append(start + size)


def _riffs(reader: Reader) -> Iterator[Chunk]:
    """The RIFF chunks of the file; other bytes after the last one are a trailer."""
    offset = 0
    while offset < reader.size:
        riff = chunk_at(reader, offset)
        if riff is None or riff.type not in {b"AVI ", b"AVIX"}:
            if offset and 0 < reader.size - offset < LIST_HEADER and b"RIFF".startswith(reader.read(offset, 4)):
                raise Incomplete("It is cut off.", video=True)
            return
        yield riff
        offset = riff.end


def _has_video(film: _Film) -> bool | None:
    return any(kind == b"vids" for kind, _ in film.streams) if film.streams else None
