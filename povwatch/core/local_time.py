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
"""Names that need no file: without one the C library takes UTC as well."""

_MAGIC = b"TZif"

_NAMED = 60
"""At most so many characters of a zone's name are shown."""

_RULE = re.compile(r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]{3,}>)[+-]?\d")
"""The beginning of a zone that is written out, such as `CET-1CEST` or `<+0530>-5:30` (tzset(3))."""


def use_zone() -> str:
    """Make this process and its children use UTC if TZ names no usable zone.

    Returns:
        What is wrong with TZ and what to do, as sentences; empty if nothing is wrong.
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
    """Local time, from seconds since the epoch.

    A time outside the calendar (a file of the year 30000, a wrong clock) becomes the nearest one inside it.
    """
    return utc(at).astimezone()


def spell_moment(at: float, now: float) -> str:
    """Local time for people: "14:03:05", with the date if that is another day than `now`."""
    moment = local(at)
    return moment.strftime("%H:%M:%S" if moment.date() == local(now).date() else "%a %d %b %H:%M:%S")


def utc(at: float) -> datetime:
    """The same in UTC."""
    return datetime.fromtimestamp(min(max(at, EARLIEST), LATEST) if at == at else 0.0, UTC)  # noqa: PLR0124 - NaN


def _unusable(name: str) -> str:
    """Why a zone cannot be used, and what to do, as sentences; empty if it can."""
    try:
        datetime.now().astimezone()
    except ValueError:  # a day or more away from UTC
        return "is a day or more away from UTC. Name a zone, such as TZ=Europe/Berlin."
    if not _known(name.removeprefix(":")):
        return "is no time zone that is known here. Install tzdata, or name another, such as TZ=CET-1CEST."
    return ""


def _known(name: str) -> bool:
    """Whether the C library knows a zone. It silently takes UTC for a zone that it does not know."""
    if name.rpartition("/")[2] in UTC_NAMES or _RULE.match(name):
        return True
    folders = [os.environ["TZDIR"]] if os.environ.get("TZDIR") else zoneinfo.TZPATH
    return any(_is_zone(Path(folder, name)) for folder in folders)


def _is_zone(file: Path) -> bool:
    """Whether a file describes a zone (RFC 9636). A name may also be a path to any other file, or too long for one."""
    try:
        with file.open("rb") as opened:
            return opened.read(len(_MAGIC)) == _MAGIC
    except (OSError, ValueError):
        return False
