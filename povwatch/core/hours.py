"""Working hours: "20:00-08:00, 12:00-13:00" of local time. Pure.

1. A range includes its first minute and excludes its last. A range that ends before it begins spans midnight.
2. Local wall-clock time counts. When clocks are set forward, the skipped hour does not exist; when they are set back,
   the repeated hour counts twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR, DAY = 60, 24 * 60
"""In minutes."""

_RANGE = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")

_LOOK_AHEAD = 2 * DAY
"""Minutes within which hours that change at all must change, however the clocks are set."""


@dataclass(frozen=True, slots=True)
class Hours:
    """When clips may start."""

    text: str = ""
    """As configured; empty means always."""
    ranges: tuple[tuple[int, int], ...] = ()
    """First and last minute of the day."""

    def open_at(self, minute: int) -> bool:
        """Whether clips may start at a minute of the day."""
        return not self.ranges or any(_holds(begin, end, minute) for begin, end in self.ranges)

    def next_change(self, at: float, minute_of: Callable[[float], int]) -> float | None:
        """When `open_at` changes next, in seconds since the epoch; None if it never does.

        Args:
            at: seconds since the epoch.
            minute_of: gives the minute of the day that local clocks show at such a time.
        """
        now = self.open_at(minute_of(at))
        whole = at - at % 60
        # Minute by minute: this needs no rules about clock changes, which happen at whole minutes.
        moments = (whole + 60.0 * minute for minute in range(1, _LOOK_AHEAD + 1))
        return next((moment for moment in moments if self.open_at(minute_of(moment)) != now), None)


def parse(text: object) -> Hours:
    """Read ranges of hours.

    Raises:
        ValueError: the text cannot be understood, or a range is empty.
    """
    if not isinstance(text, str):
        raise ValueError(_wrong(text))  # noqa: TRY004 - pydantic takes it as a fault of the setting
    ranges = []
    for part in filter(None, map(str.strip, text.split(","))):
        found = _RANGE.fullmatch(part.replace(" ", "").replace("\N{EN DASH}", "-"))
        if not found:
            raise ValueError(_wrong(part))
        hours = list(map(int, found.groups()))
        begin, end = hours[0] * HOUR + hours[1], hours[2] * HOUR + hours[3]
        if hours[1] >= HOUR or hours[3] >= HOUR or begin >= DAY or end > DAY:
            raise ValueError(f"{part!r} is no time of the day: from 00:00 to 24:00")
        if begin == end:
            raise ValueError(f"{part!r} is no time at all; leave engine.hours empty for the whole day")
        ranges.append((begin, end))
    return Hours(", ".join(filter(None, map(str.strip, text.split(",")))), tuple(ranges))


def _holds(begin: int, end: int, minute: int) -> bool:
    return begin <= minute < end if begin < end else minute >= begin or minute < end


def _wrong(found: object) -> str:
    return f'{found!r} is no range of hours: write "20:00-08:00", several with commas between'
