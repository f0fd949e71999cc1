"""One box of an MP4 or QuickTime file (ISO/IEC 14496-12, 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from povwatch.container.reader import FAR
from povwatch.container.report import Incomplete

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.container.reader import Reader

HEADER = 8
"""Bytes of a box's header: its size, its type."""

HEADER_64 = 16
"""The same with a 64-bit size."""


class Box(NamedTuple):
    """A box's place: `start` of its header, `body` after it, `end` as declared (which may lie past the file's end)."""

    type: bytes
    start: int
    body: int
    end: int


def header(reader: Reader, offset: int, limit: int) -> Box | None:
    """The box that starts at `offset`; None if what is there cannot be a box.

    `limit` is where a box that reaches "to the end" ends.
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
    """The boxes inside a box that is there as a whole.

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
