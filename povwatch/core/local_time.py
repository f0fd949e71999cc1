"""Local time for people, in a zone that can be used. The only module that asks for the zone."""

from __future__ import annotations

import os
import re
import time
import zoneinfo
from datetime import UTC, datetime
from pathlib import Path

from povwatch.core.sentences import joined

EARLIEST, LATEST = -62_000_000_000.0, 253_000_000_000.0
"""Seconds since the epoch that have a date in each zone: the years 5 to 9987."""

UTC_NAMES = frozenset({"", "UTC", "UCT", "GMT", "Universal", "Zulu", "Greenwich", "GMT0", "GMT+0", "GMT-0"})
"""What needs no file: without one the C library takes UTC as well."""

_MAGIC = b"TZif"

_NAMED = 60
"""Characters of a zone's name that are shown."""

_RULE = re.compile(r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d")
"""How a zone begins that is written out, such as `CET-1CEST` or `<+0530>-5:30` (tzset(3))."""


def use_zone() -> str:
    """Have this process and its children use UTC where TZ names no zone that can be used.

    Returns:
        What is wrong with TZ and what to do, as sentences; empty if nothing is.
    """
    time.tzset()
    name = os.environ.get("TZ", "")
    problem = _unusable(name)
    if not problem:
        return ""
    os.environ["TZ"] = "UTC"
    time.tzset()
    shown = name if len(name) <= _NAMED else f"{name[:_NAMED]}..."
    return joined(f"TZ={shown} {problem}", "Times are in UTC, those of engine.hours too.")


def local(at: float) -> datetime:
    """A time as local clocks show it.

    Args:
        at: seconds since the epoch. One that no calendar has (a file of the year 30000, a clock that was set wrong)
            becomes the nearest that one has.
    """
    return utc(at).astimezone()


def utc(at: float) -> datetime:
    """The same in UTC."""
    return datetime.fromtimestamp(min(max(at, EARLIEST), LATEST) if at == at else 0.0, UTC)  # noqa: PLR0124 - NaN


def _unusable(name: str) -> str:
    """Why a zone cannot be used, and what to do, as sentences; empty if it can."""
    try:
        datetime.now().astimezone()
    except ValueError:  # a day or more away from UTC, which is no time of day any more
        return "is a day or more away from UTC. Name a zone, such as TZ=Europe/Berlin."
    if not _known(name.removeprefix(":")):
        return "is no time zone that is known here. Install tzdata, or name another, such as TZ=CET-1CEST."
    return ""


def _known(name: str) -> bool:
    """Whether the C library knows a zone; of what it does not know it makes UTC, without a word."""
    if name.rpartition("/")[2] in UTC_NAMES or _RULE.match(name):
        return True
    folders = [os.environ["TZDIR"]] if os.environ.get("TZDIR") else zoneinfo.TZPATH
    return any(_is_zone(Path(folder, name)) for folder in folders)


def _is_zone(file: Path) -> bool:
    """Whether a file describes a zone (RFC 9636); a name may be a path to any other file, or too long for one."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False
