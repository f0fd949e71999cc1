"""Formats jobs as lines of a table. Pure.

rich's own table breaks long paths, which then can neither be pasted nor found with grep. Here a job is one line, unless
the output is a terminal. There it may take two lines, and details may end in an ellipsis (`povwatch show` has the whole
text). Paths are never broken or cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIP_MAX = 40
"""The width to which clips' names are padded, so that the next columns line up."""

CLIP_MIN = 20
"""The same on a narrow terminal."""

WHAT_MIN = 30
"""Columns that suffice for details; with fewer, they get a line of their own."""

INDENT = 5
"""Of that line, in columns."""

GAP = "  "


class Row(NamedTuple):
    """One job."""

    number: str
    clip: str
    state: str
    waits_on: str
    attempts: str
    what: str
    """Its output's path, its problem, or its progress."""
    is_path: bool = False
    """Whether `what` is a path."""


HEAD = Row("job", "clip", "state", "waits on", "attempts", "what", is_path=True)


def as_lines(rows: Sequence[Row], width: int | None) -> list[str]:
    """The lines of the table, beginning with its head.

    Args:
        rows: printable texts without line breaks.
        width: columns of the terminal; None if the output is none.
    """
    table = [HEAD, *rows]
    widths = [max(map(cell_len, column)) for column in zip(*(row[:5] for row in table), strict=True)]
    room = CLIP_MAX
    if width is not None:
        others = sum(widths) - widths[1] + len(widths) * len(GAP)
        room = max(CLIP_MIN, min(CLIP_MAX, width - others - WHAT_MIN))
    widths[1] = min(widths[1], room)
    return [line for row in table for line in _lines(row, widths, width)]


def _lines(row: Row, widths: Sequence[int], width: int | None) -> list[str]:
    cells = [set_cell_size(cell, max(wide, cell_len(cell))) for cell, wide in zip(row[:5], widths, strict=True)]
    begun = GAP.join([*cells, ""])
    if width is None:
        return [(begun + row.what).rstrip()]
    left = width - cell_len(begun)
    if left >= (cell_len(row.what) if row.is_path else min(cell_len(row.what), WHAT_MIN)):
        return [(begun + _cut(row, left)).rstrip()]
    return [begun.rstrip(), " " * INDENT + _cut(row, width - INDENT)]


def _cut(row: Row, room: int) -> str:
    if row.is_path:
        return row.what
    text = Text(row.what)
    text.truncate(max(room, WHAT_MIN), overflow="ellipsis")
    return text.plain
