"""A chunk of a RIFF file: a name, a 32-bit size, a body, and a byte of padding if the size is odd."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.container.reader import Reader

HEADER = 8
"""Bytes of a chunk's name and size."""

LIST_HEADER = 12
"""The same for a list, whose own name follows."""


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
