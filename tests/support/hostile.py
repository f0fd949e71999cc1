"""Containers with false numbers, built by hand. They hold no video: only their structure counts."""

from __future__ import annotations

import functools
import struct
import zlib
from fractions import Fraction
from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from pathlib import Path

BRAND = b"isom\0\0\0\0"


def box(kind: bytes, body: bytes = b"", *, claims: int | None = None) -> bytes:
    """An MP4 box; `claims` is the 64-bit size that it declares instead of its own."""
    if claims is not None:
        return struct.pack(">I4sQ", 1, kind, claims) + body
    return struct.pack(">I4s", 8 + len(body), kind) + body


def film(*tables: bytes, references: bytes = b"") -> bytes:
    """An MP4 with a video track for each sample table, and boxes that say where its samples are to be found."""
    handler = box(b"hdlr", bytes(8) + b"vide" + bytes(12))
    tracks = (box(b"mdia", handler + box(b"minf", references + box(b"stbl", table))) for table in tables)
    return box(b"ftyp", BRAND) + box(b"moov", b"".join(box(b"trak", t) for t in tracks)) + box(b"mdat", bytes(64))


def samples(chunk: int, size: int, *, uniform: bool) -> bytes:
    """A table of one sample of H.264, `size` bytes at `chunk`."""
    sizes = struct.pack(">III", 0, size, 1) if uniform else struct.pack(">IIII", 0, 0, 1, size)
    return _table(chunk, 1, box(b"stsz", sizes))


def long_index(count: int) -> bytes:
    """An MP4 that lists so many samples of 64 bytes, 4 bytes of index each; most of them lie past its end."""
    sizes = box(b"stsz", struct.pack(">III", 0, 0, count) + struct.pack(">I", 64) * count)
    return film(_table(8, count, sizes))


def packed_sizes(count: int) -> bytes:
    """A table of so many samples of one byte each, half a byte of index each."""
    return _table(8, count, box(b"stz2", struct.pack(">III", 0, 4, count) + b"\x11" * (count // 2)))


def _table(chunk: int, count: int, sizes: bytes) -> bytes:
    """A table of so many samples of H.264, all in one chunk."""
    description = box(b"stsd", struct.pack(">II", 0, 1) + struct.pack(">I4s", 16, b"avc1") + bytes(8))
    runs = box(b"stsc", struct.pack(">IIIII", 0, 1, 1, count, 1))
    return description + box(b"co64", struct.pack(">IIQ", 0, 1, chunk)) + runs + sizes


BLOCK = b"\xa3\x88\x81\0\0\x80abcd"
"""A Matroska block of track 1."""


def matroska(blocks: bytes) -> bytes:
    """A Matroska file with one video track, whose blocks lie in one cluster."""

    def element(ident: bytes, body: bytes) -> bytes:
        return ident + b"\x01" + len(body).to_bytes(7) + body

    track = element(b"\xd7", b"\x01") + element(b"\x83", b"\x01") + element(b"\x86", b"V_MPEG4/ISO/AVC")
    tracks = element(b"\x16\x54\xae\x6b", element(b"\xae", track))
    return element(b"\x1a\x45\xdf\xa3", b"") + element(
        b"\x18\x53\x80\x67", tracks + element(b"\x1f\x43\xb6\x75", blocks)
    )


def old_index(count: int) -> bytes:
    """An AVI whose `idx1` names its one frame so many times."""
    stream = _chunk(b"strh", b"vids" + bytes(52)) + _chunk(b"strf", bytes(16) + b"H264" + bytes(20))
    header = _chunk(b"LIST", b"hdrl" + _chunk(b"avih", bytes(56)) + _chunk(b"LIST", b"strl" + stream))
    frames = _chunk(b"LIST", b"movi" + _chunk(b"00dc", b"a" * 100))
    index = _chunk(b"idx1", struct.pack("<4sIII", b"00dc", 0, 4, 100) * count)
    return _chunk(b"RIFF", b"AVI " + header + frames + index)


def fragment_without_end() -> bytes:
    """A fragmented MP4 whose last part claims to be as large as a 64-bit number can say."""
    handler = box(b"hdlr", bytes(8) + b"vide" + bytes(12))
    index = box(b"moov", box(b"mvex") + box(b"trak", box(b"mdia", handler)))
    return box(b"ftyp", BRAND) + index + box(b"moof") + box(b"mdat", claims=2**64 - 1)


def nested(depth: int) -> bytes:
    """An MP4 whose track is boxes within boxes."""
    track = b""
    for _ in range(depth):
        track = box(b"mdia", track)
    return box(b"ftyp", BRAND) + box(b"moov", box(b"trak", track)) + box(b"mdat", b"x")


def far_index() -> bytes:
    """An AVI whose OpenDML index counts from the largest 64-bit number."""
    at = 0x1000
    name = b"00dc"
    super_index = _chunk(b"indx", struct.pack("<HBBI4s12x", 4, 0, 0, 1, name) + struct.pack("<QII", at, 64, 1))
    stream = _chunk(b"strh", b"vids" + bytes(52)) + _chunk(b"strf", bytes(16) + b"H264" + bytes(20)) + super_index
    header = _chunk(b"LIST", b"hdrl" + _chunk(b"avih", bytes(56)) + _chunk(b"LIST", b"strl" + stream))
    first = _chunk(b"RIFF", b"AVI " + header)
    index = struct.pack("<HBBI4sQI", 2, 0, 1, 1, name, 2**64 - 1, 0) + struct.pack("<II", 5, 5)
    return first + bytes(at - len(first)) + _chunk(b"ix00", index) + bytes(64)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


@functools.cache
def png(width: int, height: int) -> bytes:
    """A black picture, a thousandth of its size in memory."""
    packer = zlib.compressobj(9)
    row = bytes(width + 1)
    lines = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", lines), (b"IEND", b"")]
    chunks = (
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def pictures(path: Path, *frames: bytes) -> Path:
    """A QuickTime file with these PNG pictures for its frames; its header says 64x48, whatever they are."""
    with av.open(str(path), "w", format="mov") as container:
        stream = container.add_stream("png", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        for number, data in enumerate(frames):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, number, number, True
            packet.time_base = Fraction(1, 30)
            container.mux(packet)
    return path
