"""One box of an MP4 or QuickTime file (ISO/IEC 14496-12, 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from povwatch.container.reader import FAR
from povwatch.container.report import Incomplete

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.container.reader import Reader

HEADER = 8
"""Bytes of a box's header: size and type."""

HEADER_64 = 16
"""The same with a 64-bit size."""


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
