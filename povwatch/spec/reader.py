"""JSON, read with the place of everything in it. Pure.

`json.loads` keeps no places, takes NaN and the last of two equal keys, and follows any nesting.
This reads the same language otherwise; texts and numbers are left to the standard library's scanner.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import NoReturn

from povwatch.spec import slips

DEPTH = 16
"""Objects within objects; a spec needs two."""

DIGITS = 19
"""In a whole number: what fits 64 bits."""

Path = tuple[str | int, ...]
"""From the top to a value: keys, and places in lists."""

SPACE = re.compile(r"[ \t\n\r]*")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
WORDS = {"true": True, "false": False, "null": None}
NON_FINITE = ("NaN", "Infinity", "-Infinity")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something in the text that a spec must not have."""

    at: int
    """Its offset in characters."""
    message: str
    todo: str
    path: Path = ()


class Malformed(ValueError):  # noqa: N818 - it says what the text is
    """The text cannot be read on from here."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(slots=True)
class Document:
    """A JSON text and what is where in it."""

    text: str
    value: object = None
    keys: dict[Path, int] = field(default_factory=dict)
    """Where the key of each member of an object begins."""
    values: dict[Path, int] = field(default_factory=dict)
    """Where each value begins; `()` is the whole."""
    faults: list[Fault] = field(default_factory=list)
    """What is JSON to Python, but not to us: equal keys, NaN, numbers beyond measure."""


def read(text: str) -> Document:
    """Read a JSON text.

    Raises:
        Malformed: It is no JSON, or it is nested more than 16 deep.
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
            self.fail(*slips.after_the_end(self.text, self.at))
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
        """An object, from behind its brace."""
        members: dict[str, object] = {}
        comma = -1
        while True:
            self.space()
            if self.text.startswith("}", self.at) and comma < 0:
                break
            if not self.text.startswith('"', self.at):
                self.fail(*slips.no_key(self.text, self.at, comma))
            start = self.at
            key = self.string()
            here = (*path, key)
            if key in members:
                line = self.text.count("\n", 0, self.document.keys[here]) + 1
                self.note(start, "is there twice", f"Keep one of the two; the other is in line {line}.", here)
            self.document.keys[here] = start
            self.space()
            if not self.took(":"):
                self.fail(*slips.no_colon(self.text, self.at))
            self.space()
            members[key] = self.value(here)
            comma = self.comma("}")
            if comma < 0:
                break
        self.at += 1
        return members

    def items(self, path: Path) -> list[object]:
        """A list, from behind its bracket."""
        items: list[object] = []
        comma = -1
        while True:
            self.space()
            if self.text.startswith("]", self.at):
                if comma >= 0:
                    self.fail(*slips.no_key(self.text, self.at, comma))
                break
            items.append(self.value((*path, len(items))))
            comma = self.comma("]")
            if comma < 0:
                break
        self.at += 1
        return items

    def comma(self, closing: str) -> int:
        """The offset of the comma that comes next and is passed; -1 if it is the closing bracket, which stays."""
        end = self.at
        self.space()
        if self.took(","):
            return self.at - 1
        if not self.text.startswith(closing, self.at):
            self.fail(*slips.no_comma(self.text, self.at, end))
        return -1

    def string(self) -> str:
        try:
            value, self.at = _STRINGS.raw_decode(self.text, self.at)
        except json.JSONDecodeError as error:
            self.fail(*slips.in_a_text(self.text, self.at, error))
        return str(value)

    def word(self, path: Path) -> object:
        """A number or true, false, null."""
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
            self.fail(*slips.no_value(self.text, self.at))
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
        """Whether the token comes next; then it is passed."""
        there = self.text.startswith(token, self.at)
        self.at += len(token) if there else 0
        return there

    def note(self, at: int, message: str, todo: str, path: Path) -> None:
        self.document.faults.append(Fault(at, message, todo, path))

    def fail(self, message: str, todo: str, at: int | None = None) -> NoReturn:
        raise Malformed(Fault(self.at if at is None else at, message, todo))


_STRINGS = json.JSONDecoder()
