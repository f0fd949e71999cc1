"""The variables of templates: `{stem}`, `{folder}`, `{date}`, `{duration}`. Pure.

A literal brace is written twice, `{{`, as in Python's format strings.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING

from povwatch.core import layout

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


def names_in(text: str) -> list[str]:
    """The variables in a text, in order.

    Raises:
        ValueError: an unknown variable, or a single brace.
    """
    try:
        parts = list(Formatter().parse(text))
    except ValueError as error:
        raise ValueError(f"a brace stands alone ({error}); write {{{{ or }}}} for one that is meant as it is") from None
    found = []
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in VARIABLES or spec or conversion:
            written = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            raise ValueError(f"{{{written}}} is no variable; there are {_known()}. Write {{{{ for a brace itself")
        found.append(name)
    return found


def filled(text: str, facts: Facts) -> str:
    """Fill in the variables of a text. Braces in the values are left alone.

    Args:
        text: one that `names_in` accepts.
        facts: with a duration, if the text uses it.
    """
    folder, name = layout.split(facts.path)
    values = {
        "stem": layout.shown(layout.stem_of(name)),
        "folder": layout.shown(folder),
        "date": facts.date,
        "duration": "" if facts.duration is None else spoken(facts.duration),
    }
    parts = Formatter().parse(text)
    return "".join(literal + ("" if name is None else values[name]) for literal, name, _, _ in parts)


def spoken(seconds: float) -> str:
    """A duration in words: "12 seconds", "1 minute 5 seconds", "2 hours 1 minute"."""
    whole = max(1, round(seconds))
    hours, minutes, rest = whole // _HOUR, whole % _HOUR // _MINUTE, whole % _MINUTE
    amounts = ((hours, "hour"), (minutes, "minute"), (0 if hours else rest, "second"))
    return " ".join(f"{amount} {unit}{'s' * (amount > 1)}" for amount, unit in amounts if amount)


def _known() -> str:
    return ", ".join(f"{{{name}}}" for name in VARIABLES)
