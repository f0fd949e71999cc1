"""Finds pictures of a clip that change their size, as a call's recording has them. Pure; standard library alone.

A result has one size. Pictures of other sizes are scaled to it, and look squeezed if their shape differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from fractions import Fraction

RUNS_MAX = 20
"""Runs of frames that a report keeps; all of them are counted."""

NAMED = 5
"""Runs that a sentence names at most."""


class Sizes:
    """The sizes of the decoded pictures."""

    def __init__(self) -> None:
        self.runs: list[tuple[int, int, int]] = []
        """First frame (from 0), width and height of each run of pictures of one size, as stored."""
        self.count = 0
        """All runs, including those that are not kept."""
        self._last = (0, 0)

    def see(self, number: int, width: int, height: int) -> None:
        """Frame `number`, from 0, was decoded."""
        if (width, height) != self._last:
            self._last = (width, height)
            self.count += 1
            if len(self.runs) < RUNS_MAX:
                self.runs.append((number, width, height))

    def told(
        self, times: Sequence[int], base: Fraction, size: tuple[int, int], *, sideways: bool
    ) -> dict[str, Any] | None:
        """The changes as JSON; None if there are none.

        Args:
            times: when each frame is shown, in ticks.
            base: seconds a tick.
            size: width and height that all pictures are scaled to, upright.
            sideways: whether the stored pictures are turned by a quarter.

        Returns:
            `to` [width, height], `count` of the runs, and `runs`: [first frame, its second, width, height] each.
        """
        if self.count < 2:  # noqa: PLR2004 - one size
            return None
        runs = [
            [number, round(float(times[number] * base), 3), *((height, width) if sideways else (width, height))]
            for number, width, height in self.runs
            if number < len(times)
        ]
        return {"to": list(size), "count": self.count, "runs": runs}


def in_words(resized: Mapping[str, Any] | None) -> str:
    """The changes in sentences; empty if there are none."""
    if not resized:
        return ""
    (_, _, width, height), *others = resized["runs"]
    named = [f"{w}x{h} from frame {number} ({second:g} s) on" for number, second, w, h in others[:NAMED]]
    more = resized["count"] - 1 - len(named)
    changes = ", ".join([f"{width}x{height} at first", *named, *([f"and {more} more changes"] if more else [])])
    to_width, to_height = resized["to"]
    squeezed = any(w * to_height != h * to_width for _, _, w, h in resized["runs"])
    shape = "; where their shape is another they look squeezed or stretched" if squeezed else ""
    return f"Its pictures change their size: {changes}. All are scaled to {to_width}x{to_height}{shape}."
