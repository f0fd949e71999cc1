"""A JSON reader that records the place of every key and value. Pure.

`json.loads` records no places, accepts NaN and equal keys, and has no limit on nesting.
Otherwise both read the same language. The standard library's scanner reads the strings.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from typing import NoReturn

from povwatch.spec import slips

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
        """Read an object; its brace has been read."""
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
        """Read a list; its bracket has been read."""
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
        """Read a comma and return its offset; -1 if the closing bracket comes next, which is not read."""
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
        """Read the token if it comes next; whether it did."""
        there = self.text.startswith(token, self.at)
        self.at += len(token) if there else 0
        return there

    def note(self, at: int, message: str, todo: str, path: Path) -> None:
        self.document.faults.append(Fault(at, message, todo, path))

    def fail(self, message: str, todo: str, at: int | None = None) -> NoReturn:
        raise Malformed(Fault(self.at if at is None else at, message, todo))


_STRINGS = json.JSONDecoder()
