"""The variables of templates: `{stem}`, `{folder}`, `{date}`, `{duration}`. Pure.

placeholders.py says how they are written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.spec.placeholders import parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES: Mapping[str, str] = {
    "stem": "the clip's name without its suffix",
    "folder": "its folder below inputs/, empty for a clip at the top",
    "date": "the day on which the file was last changed, such as 2026-05-31",
    "duration": 'how long it is, such as "12 seconds"',
}
"""Each variable and its meaning."""

_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a clip that its JSON is made with."""

    path: bytes
    """Relative to inputs/."""
    date: str
    """ISO 8601."""
    duration: float | None = None
    """Seconds; None if the clip was not probed."""
    digest: str | None = None
    """SHA-256 of the clip's bytes, in hexadecimal; None if the clip was not read."""


def names_in(text: str) -> list[str]:
    """The variables and choices in a text, in order.

    Raises:
        BadText: the text cannot be used.
    """
    return [part.name for part in parts_of(text) if not isinstance(part, str)]


def filled(text: str, facts: Facts, drawn: Mapping[str, str] | None = None) -> str:
    """Fill in the variables and choices of a text. Braces in the values are left alone.

    Args:
        text: one that `choices.choices_in` accepts.
        facts: with a duration, if the text uses it.
        drawn: the words of each choice.
    """
    folder, name = layout.split(facts.path)
    values = {
        "stem": layout.shown(layout.stem_of(name)),
        "folder": layout.shown(folder),
        "date": facts.date,
        "duration": "" if facts.duration is None else spoken(facts.duration),
    } | dict(drawn or {})
    return "".join(part if isinstance(part, str) else values[part.name] for part in parts_of(text))


def spoken(seconds: float) -> str:
    """A duration in words: "12 seconds", "1 minute 5 seconds", "2 hours 1 minute"."""
    whole = max(1, round(seconds))
    hours, minutes, rest = whole // _HOUR, whole % _HOUR // _MINUTE, whole % _MINUTE
    amounts = ((hours, "hour"), (minutes, "minute"), (0 if hours else rest, "second"))
    return " ".join(f"{amount} {unit}{'s' * (amount > 1)}" for amount, unit in amounts if amount)
