"""A JSON reader that records the place of every key and value. Pure.

`json.loads` records no places, accepts NaN and equal keys, and has no limit on nesting.
Otherwise both read the same language. The standard library's scanner reads the strings.

Of a text that is no JSON, the reader says which common mistake it is and what to do.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import NoReturn

DEPTH = 16
"""The most levels of nesting; a spec needs two."""

DIGITS = 19
"""The most digits of a whole number: those of 64 bits."""

Path = tuple[str | int, ...]
"""The keys and list indices that lead to a value."""

SPACE = re.compile(r"[ \t\n\r]*")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
WORDS = {"true": True, "false": False, "null": None}
NON_FINITE = ("NaN", "Infinity", "-Infinity")
_STRINGS = json.JSONDecoder()

SMART_QUOTES = "\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u00ab\u00bb\u2033\uff02"
NAME = re.compile(r"[A-Za-z_$][\w$-]*")
SPELLED = {"True": "true", "False": "false", "None": "null", "TRUE": "true", "FALSE": "false", "nil": "null"}

CUT_SHORT = (
    "the file ends too early",
    "Something is not closed, or the file was only written in part: look at its end.",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault in the text."""

    at: int
    """The offset in characters."""
    message: str
    todo: str
    path: Path = ()


class Malformed(ValueError):  # noqa: N818 - it says what the text is
    """The rest of the text cannot be read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(slots=True)
class Document:
    """A JSON text, its value, and where its parts begin."""

    text: str
    value: object = None
    keys: dict[Path, int] = field(default_factory=dict)
    """Offset of each key in the text."""
    values: dict[Path, int] = field(default_factory=dict)
    """Offset of each value; `()` is the whole."""
    faults: list[Fault] = field(default_factory=list)
    """What Python accepts and we do not: equal keys, NaN, numbers that are too large."""


def read(text: str) -> Document:
    """Read a JSON text.

    Raises:
        Malformed: it is no JSON, or is nested too deeply.
    """
    return _Reader(text).read()


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.document = Document(text)

    def read(self) -> Document:
        self.space()
        self.document.value = self.value(())
        self.space()
        if self.at < len(self.text):
            self.fail(*_after_the_end(self.text, self.at))
        return self.document

    def value(self, path: Path) -> object:
        self.document.values[path] = self.at
        if self.text.startswith(("{", "["), self.at) and len(path) >= DEPTH:
            self.fail(
                f"the file is nested more than {DEPTH} deep",
                "A spec has controls at its top level, and nothing deeper.",
            )
        if self.took("{"):
            return self.members(path)
        if self.took("["):
            return self.items(path)
        if self.text.startswith('"', self.at):
            return self.string()
        return self.word(path)

    def members(self, path: Path) -> dict[str, object]:
        """Read an object; its brace has been read."""
        members: dict[str, object] = {}
        comma = -1
        while True:
            self.space()
            if self.text.startswith("}", self.at) and comma < 0:
                break
            if not self.text.startswith('"', self.at):
                self.fail(*_no_key(self.text, self.at, comma))
            start = self.at
            key = self.string()
            here = (*path, key)
            if key in members:
                line = self.text.count("\n", 0, self.document.keys[here]) + 1
                self.note(start, "is there twice", f"Keep one of the two; the other is in line {line}.", here)
            self.document.keys[here] = start
            self.space()
            if not self.took(":"):
                self.fail(*_no_colon(self.text, self.at))
            self.space()
            members[key] = self.value(here)
            comma = self.comma("}")
            if comma < 0:
                break
        self.at += 1
        return members

    def items(self, path: Path) -> list[object]:
        """Read a list; its bracket has been read."""
        items: list[object] = []
        comma = -1
        while True:
            self.space()
            if self.text.startswith("]", self.at):
                if comma >= 0:
                    self.fail(*_no_key(self.text, self.at, comma))
                break
            items.append(self.value((*path, len(items))))
            comma = self.comma("]")
            if comma < 0:
                break
        self.at += 1
        return items

    def comma(self, closing: str) -> int:
        """Read a comma and return its offset; -1 if the closing bracket comes next, which is not read."""
        end = self.at
        self.space()
        if self.took(","):
            return self.at - 1
        if not self.text.startswith(closing, self.at):
            self.fail(*_no_comma(self.text, self.at, end))
        return -1

    def string(self) -> str:
        try:
            value, self.at = _STRINGS.raw_decode(self.text, self.at)
        except json.JSONDecodeError as error:
            self.fail(*_in_a_text(self.text, self.at, error))
        return str(value)

    def word(self, path: Path) -> object:
        """Read a number, or true, false, null."""
        start = self.at
        for word, value in WORDS.items():
            if self.took(word):
                return value
        for word in NON_FINITE:
            if self.took(word):
                self.note(start, f"{word} is no number that can be used", "Write a number.", path)
                return 0
        found = NUMBER.match(self.text, self.at)
        if found is None:
            self.fail(*_no_value(self.text, self.at))
        self.at = found.end()
        return self.number(start, found.group(), path)

    def number(self, start: int, digits: str, path: Path) -> int | float:
        if digits.lstrip("-").isdigit():
            if len(digits.lstrip("-")) <= DIGITS:
                return int(digits)
        elif math.isfinite(value := float(digits)):
            return value
        self.note(start, "is a number beyond measure", "Write a smaller number.", path)
        return 0

    def space(self) -> None:
        found = SPACE.match(self.text, self.at)
        self.at = found.end() if found else self.at

    def took(self, token: str) -> bool:
        """Read the token if it comes next; whether it did."""
        there = self.text.startswith(token, self.at)
        self.at += len(token) if there else 0
        return there

    def note(self, at: int, message: str, todo: str, path: Path) -> None:
        self.document.faults.append(Fault(at, message, todo, path))

    def fail(self, message: str, todo: str, at: int | None = None) -> NoReturn:
        raise Malformed(Fault(self.at if at is None else at, message, todo))


_Mistake = tuple[str, str] | tuple[str, str, int]
"""The message, what to do, and an offset if it is not the reader's own."""


def _no_value(text: str, at: int) -> _Mistake:
    """No value where one should be."""
    mistake = _anywhere(text, at)
    if mistake:
        return mistake
    if word := NAME.match(text, at):
        right = SPELLED.get(word.group())
        if right:
            return f"{word.group()} is not JSON's spelling", f"Write {right}."
        return "a text without quotes", f'Put it in double quotes: "{word.group()[:40]}".'
    if text[at] in ".+" or text.startswith("-.", at):
        return "a number that begins with no digit", "Write 0.5, not .5 or +0.5."
    if text[at] in ",}]":
        return "a value is missing", f"Write one in front of the {text[at]}."
    return (
        "no value that JSON knows",
        'Write a number, a text in double quotes, true, false, null, or an object: "edge": {}',
    )


def _no_key(text: str, at: int, comma: int) -> _Mistake:
    """No key where one should be, after the comma at `comma` (-1: after the opening brace)."""
    if at < len(text) and comma >= 0:
        if text[at] in "}]":
            return f"a comma with nothing behind it before the {text[at]}", "Take the comma out.", comma
        if text[at].isdigit():
            return "a comma inside a number", "Write the number with a point: 0.5, not 0,5.", comma
    mistake = _anywhere(text, at)
    if mistake:
        return mistake
    if word := NAME.match(text, at):
        return "a name without quotes", f'Put it in double quotes: "{word.group()[:40]}".'
    if text[at] == ",":
        return "two commas, or one too early", "Take one comma out."
    return "a name in double quotes should stand here", 'Each line is "name": value'


def _no_colon(text: str, at: int) -> _Mistake:
    """No colon where one should be."""
    if text.startswith(("=", ";"), at):
        return f"{text[at]} instead of a colon", 'Each line is "name": value'
    return _anywhere(text, at) or ("a colon is missing behind the name", 'Each line is "name": value')


def _no_comma(text: str, at: int, end: int) -> _Mistake:
    """No comma or closing bracket where one should be; the value ended at `end`."""
    mistake = _anywhere(text, at)
    if mistake:
        return mistake
    if text[at] == '"':
        return "a comma is missing behind this", "Write one at the end, before the next line.", max(end - 1, 0)
    if text[at] in "0123456789" and text[end - 1 : end] in ("0", "-"):
        return "a number that begins with 0", "Take the 0 in front out.", end - 1
    if text[at] == ".":
        return "a number that ends in a point", "Write 1.0 or 1, not 1.", at
    if text[at] in "}])":
        return f"{text[at]} closes what another bracket opened", "Look which bracket is not closed."
    return "a comma or a closing bracket should stand here", "Look at what stands before this."


def _in_a_text(text: str, start: int, error: json.JSONDecodeError) -> _Mistake:
    """The string that begins at `start` cannot be read."""
    if error.msg.startswith("Unterminated"):
        return "a text that is never closed", 'Put a " at its end.', start
    if error.msg.startswith("Invalid control"):
        if text[error.pos] in "\r\n":
            return "a line break inside a text", 'Write \\n for it, or close the text with " before it.', error.pos
        return "a control character inside a text", "Write it as an escape: \\t for a tab.", error.pos
    return (
        "a backslash that JSON does not know",
        "Write two for a backslash: \\\\. Folders are parted by / here.",
        error.pos,
    )


def _after_the_end(text: str, at: int) -> _Mistake:
    """Text after the end of the value."""
    mistake = _anywhere(text, at)
    if mistake:
        return mistake
    return "something follows the end of the spec", "One { ... } is all that a file may hold: take the rest out."


def _anywhere(text: str, at: int) -> _Mistake | None:
    """Mistakes that may occur anywhere."""
    if at >= len(text):
        return (*CUT_SHORT, len(text.rstrip(" \t\r\n")))  # after the last visible character
    char = text[at]
    if text.startswith(("//", "/*", "#"), at):
        return "a comment, which JSON does not have", "Take it out."
    if char == "'":
        return "single quotes", 'Write double quotes: "...".'
    if char in SMART_QUOTES:
        return f"a typographic quote (U+{ord(char):04X})", 'Write straight double quotes: "...".'
    if not char.isprintable() or char.isspace():
        return f"an invisible character (U+{ord(char):04X})", "Delete it, and type a plain space if one is needed."
    return None
