"""What stands in braces in a template: `{stem}`, `{folder}`, `{date}`, `{duration}`. Pure.

A brace that is meant as one is written twice: `{{`, as Python's own templates have it.
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
"""Each variable and what it stands for."""

_MINUTE, _HOUR = 60, 3600


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a clip when its JSON is written."""

    path: bytes
    """Relative to inputs/."""
    date: str
    """ISO 8601."""
    duration: float | None = None
    """Seconds; None if nobody has looked."""


def names_in(text: str) -> list[str]:
    """The variables that a text uses, in its order.

    Raises:
        ValueError: says what is wrong: a variable that there is not, or a brace that stands alone.
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
    """A text with its variables filled in; what a clip's name holds is not looked into again.

    Args:
        text: one that `names_in` takes.
        facts: of the clip; with a duration, if the text uses it.
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
    """A duration as a sentence has it: "12 seconds", "1 minute 5 seconds", "2 hours 1 minute"."""
    whole = max(1, round(seconds))
    hours, minutes, rest = whole // _HOUR, whole % _HOUR // _MINUTE, whole % _MINUTE
    amounts = ((hours, "hour"), (minutes, "minute"), (0 if hours else rest, "second"))
    return " ".join(f"{amount} {unit}{'s' * (amount > 1)}" for amount, unit in amounts if amount)


def _known() -> str:
    return ", ".join(f"{{{name}}}" for name in VARIABLES)
