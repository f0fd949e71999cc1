r"""Reads the texts of templates: words, variables such as `{stem}`, and choices such as `{light: sun|lamp}`. Pure.

The rules:

1. A brace itself is written twice outside of a choice: `{{` and `}}`, as in Python's format strings.
2. A choice has a name, a colon, and one or more alternatives with bars between them. Blanks around an alternative do
   not count.
3. Inside a choice, a backslash before a bar, a brace or a backslash means that character itself: `{price: 1\|2|3}`.
4. Choices do not nest, and hold no variables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORDS = re.compile(r"[^{}]+|\{\{|\}\}")
_INSIDE = re.compile(r"(?:\\.|[^\\{}]|\\$)*", re.DOTALL)
_ALTERNATIVE = re.compile(r"(?:\\.|[^\\|]|\\$)*", re.DOTALL)
_ESCAPED = re.compile(r"\\([\\{}|])")

SHOWN_MAX = 60
"""Characters that are shown of a wrong placeholder."""


class BadText(ValueError):  # noqa: N818 - what the text is
    """A text of a template cannot be used."""

    def __init__(self, found: str, message: str, todo: str, *, at: int = 0) -> None:
        """Keep what is wrong. The message follows `found`, a part of the text that begins at offset `at`."""
        super().__init__(f"{_short(found)} {message}")
        self.found = found
        self.todo = todo
        self.at = at
        self.key = ""
        """The key of the text in its file, once known."""


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A variable, a choice, or the name of a choice whose alternatives are written elsewhere."""

    name: str
    alternatives: tuple[str, ...]
    """Those of a choice; empty otherwise. One that stands there twice is as likely as two."""
    written: str
    """The placeholder as it stands in the text."""
    at: int
    """Its offset in the text."""


def parts_of(text: str) -> list[str | Placeholder]:
    """The words and placeholders of a text, in order. Braces that are meant as such are part of the words.

    Raises:
        BadText: a placeholder is not closed, is nested, or has no name or no alternatives, or a brace stands alone.
    """
    parts: list[str | Placeholder] = []
    at = 0
    while at < len(text):
        if words := _WORDS.match(text, at):
            parts.append(words.group()[:1] if words.group() in ("{{", "}}") else words.group())
            at = words.end()
        elif text[at] == "}":
            todo = "Write }} for one that is meant as it is, or open a placeholder with { before it."
            raise BadText(text[max(0, at - 20) : at + 1], "has a closing brace that stands alone", todo, at=at)
        else:
            placeholder = _placeholder(text, at)
            parts.append(placeholder)
            at += len(placeholder.written)
    return parts


def _placeholder(text: str, at: int) -> Placeholder:
    """The placeholder that begins at `at`."""
    inside = _INSIDE.match(text, at + 1)
    end = inside.end() if inside else at + 1
    if end == len(text):
        raise BadText(text[at:], "is never closed", "Put } at its end, or write {{ for a brace itself.", at=at)
    written = text[at : end + 1]
    if text[end] == "{":
        todo = "Take the inner braces out: a choice holds words alone. Write \\{ and \\} for braces themselves."
        raise BadText(written, "has another brace inside", todo, at=at)
    name, colon, rest = written[1:-1].partition(":")
    if not colon and "|" not in name:
        return Placeholder(name, (), written, at)
    if not colon or not name.strip():
        example = (rest if colon else name).strip() or "this|that"
        todo = f"Write a name and a colon in front, such as {{light: {_short(example)}}}."
        raise BadText(written, "is a choice without a name", todo, at=at)
    name = name.strip()
    if not name.isidentifier():
        todo = "Name a choice with letters, digits and _, such as {light: morning sun|lamp}."
        raise BadText(written, f"has a name that is none: {_short(name)}", todo, at=at)
    alternatives = tuple(_ESCAPED.sub(r"\1", words).strip() for words in _split(rest))
    if not all(alternatives):
        what = "has an empty alternative" if len(alternatives) > 1 else "has no alternatives"
        todo = f"Write words between all bars, such as {{{name}: morning sun|lamp}}, or take a bar out."
        raise BadText(written, what, todo, at=at)
    return Placeholder(name, alternatives, written, at)


def _split(text: str) -> list[str]:
    """The text's parts between bars."""
    parts, at = [], 0
    while True:
        found = _ALTERNATIVE.match(text, at)
        end = found.end() if found else at
        parts.append(text[at:end])
        if end == len(text):
            return parts
        at = end + 1


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else text[: SHOWN_MAX - 3] + "..."
