"""Error texts for a configuration: the place, what was found, what is allowed, and what was probably meant.

None of pydantic's own wording is shown. The tests cover every kind of fault that the settings can have.
"""

from __future__ import annotations

import difflib
import os
import re
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import BaseModel

from povwatch.core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pydantic import ValidationError

PREFIX = "POVWATCH_"

NO_SETTINGS = frozenset(
    {
        "POVWATCH_CALLED",
        "POVWATCH_COMMAND",
        "POVWATCH_CONFIG",
        "POVWATCH_NOTIFIER",
        *("POVWATCH_BRIDGE", "POVWATCH_NODE_STATE", "POVWATCH_ACTOR"),
        "POVWATCH_PYTHON",
        "POVWATCH_TEST_ALL",
        "POVWATCH_TRACEBACK",
        "POVWATCH_UPSTREAM",
    }
)
"""POVWATCH_ variables that are no settings: of the command line, of script/ and of the tests."""

TEXT = "has to be text in quotes"
WANTED = {
    "string": TEXT,
    "path": TEXT,
    "bool": "has to be true or false",
    "int": "has to be a whole number",
    "float": "has to be a number",
    "finite": "has to be a number",
    "tuple": 'has to be a list, such as ["..."]',
    "list": 'has to be a list, such as ["..."]',
    "dict": "has to be a table, such as { name = 1.0 }",
    "too": "needs at least one entry",
}
"""The first word of pydantic's error type, and what the setting accepts."""

SECRET = frozenset({"url"})
"""Settings whose value no message shows."""

LIMITS = {"ge": "{:g} or more", "gt": "more than {:g}", "le": "{:g} or less", "lt": "less than {:g}"}

_UNION = re.compile(r"literal\[.*\]|constrained-\w+")
"""Parts of a location that name an alternative of a union, not a key."""

_HEADER = re.compile(r"\s*\[+\s*([^\]]+?)\s*\]")


def suggestion(word: str, known: Iterable[str]) -> str:
    """The nearest known word as a question, after a space; empty if none is similar."""
    found = difflib.get_close_matches(word, list(known), n=1)
    return f" did you mean {found[0]!r}?" if found else ""


def explain(error: ValidationError, model: type[BaseModel], file: Path | None, shown: str) -> str:
    """One line for each fault."""
    faults: dict[tuple[str, ...], list[str]] = {}
    found: dict[tuple[str, ...], str] = {}
    for fault in error.errors():
        if fault["type"] == "too_short" and fault["input"]:
            continue  # its entries are wrong, and have lines of their own
        loc = fault["loc"][:-2] if fault["loc"][-1] == "[key]" else fault["loc"]
        where = tuple(str(part) for part in loc if not _UNION.fullmatch(str(part)))
        message, rest = _describe_fault(fault, where, model)
        if where and where[-1] in SECRET and fault["type"] != "extra_forbidden":
            rest = "."
        faults.setdefault(where, []).append(message)
        found.setdefault(where, rest)
    return "\n".join(
        f"{place(list(where), file, shown)}: {_key(where)}{_either(messages)}{found[where]}"
        for where, messages in faults.items()
    )


def check_environment(model: type[BaseModel]) -> None:
    """Check our environment variables: a misspelt one would have no effect.

    Raises:
        ConfigError: a POVWATCH_ variable names no setting.
    """
    sections = model.model_fields
    for name in os.environ:
        section, nested, _ = name.upper().removeprefix(PREFIX).lower().partition("__")
        if not name.upper().startswith(PREFIX) or name in NO_SETTINGS or section in sections:
            continue
        settings = [f"{PREFIX}{part}__{key}".upper() for part in sections for key in keys_of(model, [part])]
        close = difflib.get_close_matches(name.upper(), [*settings, *NO_SETTINGS], n=1, cutoff=0.8)
        if nested:
            close = [f"{PREFIX}{part.upper()}__..." for part in difflib.get_close_matches(section, sections, n=1)]
        what = "section of the configuration" if nested else "setting"
        raise ConfigError(
            f"The environment variable {name} names no {what}.",
            f"Did you mean {close[0]}?" if close else "Unset it.",
        )


def keys_of(model: type[BaseModel], where: Sequence[str]) -> list[str]:
    """The keys of a section; for the whole configuration, its sections."""
    fields = model.model_fields
    for part in where:
        if part.isdecimal():  # an entry of a list of tables
            continue
        section = fields[part].annotation if part in fields else None
        section = next(iter(get_args(section)), section) if get_origin(section) is tuple else section
        if not (isinstance(section, type) and issubclass(section, BaseModel)):
            return []
        fields = section.model_fields
    return list(fields)


def _describe_fault(  # noqa: PLR0911 - one for each kind of fault
    fault: Any,  # noqa: ANN401 - pydantic's
    where: tuple[str, ...],
    model: type[BaseModel],
) -> tuple[str, str]:
    """The message of a fault, and the end of its line: what was found, and what was probably meant."""
    kind, value, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "extra_forbidden":
        keys = keys_of(model, where[:-1])
        return " is no setting;", suggestion(where[-1], keys) or f" known are {', '.join(keys)}."
    if kind == "value_error":
        message = str(fault["msg"]).removeprefix("Value error, ")
        end = "" if message.endswith("?") else "."
        tables = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))
        shown = repr(value) in message or tables
        return f": {message}", end if shown else f", not {value!r}{end}"
    if kind == "literal_error":
        meant = suggestion(value, re.findall(r"'([^']*)'", context["expected"])) if isinstance(value, str) else ""
        return f": has to be {context['expected']}", f", not {value!r}" + (f";{meant}" if meant else ".")
    for limit, words in LIMITS.items():
        if limit in context:
            return f": has to be {words.format(context[limit])}", f", not {value!r}."
    if kind == "missing":
        return " is missing", "."
    entry = kind.startswith("model") and where[-1].isdecimal()
    if entry or (kind == "tuple_type" and keys_of(model, where)):
        return f": write [[{where[0]}]] on a line of its own, once for each, and its settings below it", "."
    if kind.startswith("model") or (kind.startswith("dict") and len(where) == 1):
        return f": has to be a section: write [{where[0]}] on a line of its own, and its settings below it", "."
    message = WANTED.get(kind.partition("_")[0], "cannot be used as it stands")
    return f": {message}", "." if kind.startswith("too") else f", not {value!r}."


def _either(messages: list[str]) -> str:
    """Join the messages about several alternatives into one."""
    first, *others = messages
    return first + "".join(f" or {other.removeprefix(': has to be ')}" for other in others)


def _key(where: tuple[str, ...]) -> str:
    """A setting's name for people; list entries are counted from 1."""
    names = [part for part in where if not part.isdecimal()]
    numbers = "".join(f", entry {int(part) + 1}" for part in where if part.isdecimal())
    return ".".join(names) + numbers


def place(where: list[str], file: Path | None, shown: str) -> str:
    """The environment variable, or the line of the file, that a setting comes from."""
    for length in range(len(where), 0, -1):
        variable = f"{PREFIX}{'__'.join(where[:length]).upper()}"
        if name := next((name for name in os.environ if name.upper() == variable), None):
            return f"the environment variable {name}"
    line = line_of(file.read_text("utf-8"), where) if file else None
    return f"{shown}, line {line}" if line else shown


def line_of(text: str, where: Sequence[str]) -> int | None:
    """The line of a key in a TOML text, found by its section's header; None if the key is not there."""
    if len(where) > 1 and where[1].isdecimal():
        return _line_in_list(text, where)
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            section = header[1]
            if [section] == [*where]:
                return number
            continue
        key = where[1] if len(where) > 1 and section == where[0] else where[0] if not section else None
        if key is not None and re.match(rf"\s*{re.escape(key)}\s*[=.]", line):
            return number
    return None


def _line_in_list(text: str, where: Sequence[str]) -> int | None:
    """The same for a list of tables: `hooks.1.argv` is below the second [[hooks]], or that line itself."""
    section, entry = where[0], int(where[1])
    seen, found = -1, None
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            if seen == entry:
                break
            if header[1] == section:
                seen += 1
                found = number if seen == entry else None
        elif found is not None and len(where) > 2 and re.match(rf"\s*{re.escape(where[2])}\s*[=.]", line):  # noqa: PLR2004 - a key
            return number
    return found
