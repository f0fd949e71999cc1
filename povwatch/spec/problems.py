"""Turns offsets in the text into lines and columns for people. Pure."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any, cast

from povwatch.core.errors import Problem, SpecInvalid
from povwatch.core.layout import shown

if TYPE_CHECKING:
    from povwatch.spec.reader import Document, Fault, Path

PROBLEMS_MAX = 20
"""The most problems that are listed."""

FOUND_MAX = 80
"""Characters that are shown of a wrong value."""

WINDOW = 100
"""Characters of a long line that are shown."""

LINE_END = re.compile(r"\r\n|\n|\r")
SCALAR = re.compile(r"[^\s,\]}]+")


def invalid(file: str, problems: list[Problem]) -> SpecInvalid:
    """An error that names the file, its first problem, and the number of others."""
    first, more = problems[0], len(problems) - 1
    what = f"{_place(file, first)}: {first.sentence}"
    what = f"{what[:-1]} (found {first.found})." if first.found else what
    what += f" And {more} more." if more else ""
    return SpecInvalid(what, first.todo, file=file, problems=tuple(problems))


def explain(error: SpecInvalid) -> str:
    """Every problem with its line, and what to do about it."""
    if not error.problems:
        return f"{error}\n"
    count = len(error.problems)
    many = "one thing" if count == 1 else f"{count} things"
    blocks = [f"{error.file} cannot be run as it stands: {many} to put right."]
    blocks += [_block(problem) for problem in error.problems]
    return "\n\n".join(blocks) + "\n"


def placed(faults: list[Fault], document: Document) -> list[Problem]:
    """The faults as problems with lines and columns, in the file's order."""
    ordered = sorted(faults, key=lambda fault: fault.at)[:PROBLEMS_MAX]
    lines = [0, *(end.end() for end in LINE_END.finditer(document.text))]
    return [_problem(fault, document, lines) for fault in ordered]


def value_at(document: Document, path: Path) -> object:
    """The value at `path`; None if an equal key has replaced it."""
    value = document.value
    try:
        for step in path:
            value = cast("Any", value)[step]
    except (LookupError, TypeError):
        return None
    return value


def _problem(fault: Fault, document: Document, lines: list[int]) -> Problem:
    line = sum(begin <= fault.at for begin in lines)
    begin = lines[line - 1]
    return Problem(
        message=fault.message,
        todo=fault.todo,
        field=_plain(".".join(map(str, fault.path))),
        found=_found(document, fault.path),
        line=line,
        column=fault.at - begin + 1,
        source=LINE_END.split(document.text[begin:], maxsplit=1)[0],
    )


def _found(document: Document, path: Path) -> str:
    """The text of the value at `path`; empty for the whole file, or if there is no value."""
    if not path or path not in document.values:
        return ""
    value = value_at(document, path)
    if isinstance(value, (str, list, dict)):
        return _plain(json.dumps(value, ensure_ascii=False))
    # As written, because the value of a number that is too large is replaced.
    word = SCALAR.match(document.text, document.values[path])
    return _plain(word.group()) if word else ""


def _plain(text: str) -> str:
    """A printable text on one line, cut to FOUND_MAX."""
    short = text[: FOUND_MAX + 1]  # cut first, because escapes are longer than the characters they stand for
    line = shown(short.encode("utf-8", "surrogatepass"))
    return line if len(line) <= FOUND_MAX else line[: FOUND_MAX - 3] + "..."


def _place(file: str, problem: Problem) -> str:
    return f"{file}, line {problem.line}, column {problem.column}" if problem.line else file


def _block(problem: Problem) -> str:
    lines = []
    if problem.line:
        window, caret = _excerpt(problem.source, problem.column)
        number = str(problem.line)
        lines += [
            f"line {number}, column {problem.column}:",
            f"  {number} | {window}".rstrip(),
            f"  {' ' * len(number)} | {' ' * caret}^",
        ]
    lines += [f"  {problem.sentence}"]
    lines += [f"  Found: {problem.found}"] if problem.found else []
    lines += [f"  {problem.todo}"] if problem.todo else []
    return "\n".join(lines)


def _excerpt(source: str, column: int) -> tuple[str, int]:
    """The part of a line around a column, and the column's offset in it, in terminal cells."""
    begin = max(0, column - 1 - WINDOW // 2) if len(source) > WINDOW else 0
    window = "".join(c if c.isprintable() else " " for c in source[begin : begin + WINDOW])
    before = window[: column - 1 - begin]
    lead = "..." if begin else ""
    tail = "..." if begin + WINDOW < len(source) else ""
    return lead + window + tail, len(lead) + sum(_cells(c) for c in before)


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
