"""From an offset in the text to a line that people can find. Pure."""

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
"""More than these nobody reads."""

FOUND_MAX = 80
"""Characters of what was found that are repeated."""

WINDOW = 100
"""Characters of a long line that are shown."""

LINE_END = re.compile(r"\r\n|\n|\r")
SCALAR = re.compile(r"[^\s,\]}]+")


def invalid(file: str, problems: list[Problem]) -> SpecInvalid:
    """The error that names the file, its first problem, and how many more there are."""
    first, more = problems[0], len(problems) - 1
    what = f"{_place(file, first)}: {first.sentence}"
    what = f"{what[:-1]} (found {first.found})." if first.found else what
    what += f" And {more} more." if more else ""
    return SpecInvalid(what, first.todo, file=file, problems=tuple(problems))


def explain(error: SpecInvalid, *, in_file: bool = True) -> str:
    """Every problem with its line, and what to do about it.

    Args:
        error: what is wrong.
        in_file: whether this is the text of the error file, which says that it goes away again.
    """
    if not error.problems:
        return f"{error}\n"
    count = len(error.problems)
    many = "one thing" if count == 1 else f"{count} things"
    blocks = [f"{error.file} cannot be run as it stands: {many} to put right."]
    blocks += [_block(problem) for problem in error.problems]
    blocks += ["This file goes away by itself when the JSON is right again."] if in_file else []
    return "\n\n".join(blocks) + "\n"


def placed(faults: list[Fault], document: Document) -> list[Problem]:
    """The faults in the file's order, with their lines."""
    ordered = sorted(faults, key=lambda fault: fault.at)[:PROBLEMS_MAX]
    lines = [0, *(end.end() for end in LINE_END.finditer(document.text))]
    return [_problem(fault, document, lines) for fault in ordered]


def value_at(document: Document, path: Path) -> object:
    """The value at `path`; None where an equal key has taken its place."""
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
    """What stands there; nothing for the file as a whole or where nothing stands."""
    if not path or path not in document.values:
        return ""
    value = value_at(document, path)
    if isinstance(value, (str, list, dict)):
        return _plain(json.dumps(value, ensure_ascii=False))
    # As it is written: the value of a number beyond measure is not its own.
    word = SCALAR.match(document.text, document.values[path])
    return _plain(word.group()) if word else ""


def _plain(text: str) -> str:
    """A text on one line, printable, and not too long."""
    short = text[: FOUND_MAX + 1]  # first, as an escape is longer than what it stands for
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
    """The part of a line around a column, and how far in the column is, in a terminal's cells."""
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
