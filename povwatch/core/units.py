"""Durations and sizes as people write them: "5s", "2m", "1h30m", "1d"; "5GB", "500MiB". Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import durationpy
from pydantic import BeforeValidator, ByteSize, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from fractions import Fraction

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")
_SIZE = TypeAdapter(ByteSize)
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_ROUND_ABOVE = 10


def parse_duration(text: object) -> float:
    """Seconds in a duration such as "90s", "2m" or "1h30m".

    Raises:
        ValueError: it is no string, or has no unit.
    """
    if not isinstance(text, str) or not _DURATION.fullmatch(text.strip()):
        raise ValueError(f'{text!r} is no duration: write a string with a unit (ms, s, m, h, d), such as "90s" or "2m"')
    return float(durationpy.from_str(text.strip()).total_seconds())


def parse_size(text: object) -> int:
    """Bytes in a size such as "5GB" or "500MiB".

    Raises:
        ValueError: it is no string, or has no unit.
    """
    try:
        if isinstance(text, str) and text.strip()[-1:].isalpha():
            return int(_SIZE.validate_python(text.strip()))
    except ValidationError:
        pass
    raise ValueError(f'{text!r} is no size: write a string with a unit (MB, GB, GiB), such as "5GB"')


Seconds = Annotated[float, BeforeValidator(parse_duration)]
"""A configured duration, in seconds."""

Bytes = Annotated[int, BeforeValidator(parse_size)]
"""A configured size, in bytes."""


def spell_duration(seconds: float) -> str:
    """A duration for people: "4.2 s", "1 min 40 s", "2 h 05 min", "3 d 4 h"."""
    if seconds < _ROUND_ABOVE:
        return f"{max(seconds, 0):.1f} s"
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02d} s"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02d} min"
    return f"{whole // _DAY} d {whole % _DAY // _HOUR} h"


def spell_rate(rate: Fraction) -> str:
    """Frames a second for people: "25", "29.97"."""
    return f"{float(rate):.3f}".rstrip("0").rstrip(".")


def spell_pace(rate: Fraction, *, constant: bool) -> str:
    """The frame rate in words: "25 frames a second", "about 24.3 frames a second, not evenly spaced"."""
    pace = f"{spell_rate(rate)} frames a second"
    return pace if constant else f"about {pace}, not evenly spaced"


def spell_size(size: float) -> str:
    """A size for people, in decimal units: "812 B", "4.2 MB"."""
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:  # noqa: PLR2004 - the decimal step
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= _ROUND_ABOVE else f"{value:.1f} {unit}"
