"""Parses a JSON file into a spec, or into a list of all its faults. Pure."""

from __future__ import annotations

import codecs
import json
import re
import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from povwatch.core.errors import Problem
from povwatch.spec import hints
from povwatch.spec.model import Spec
from povwatch.spec.problems import PROBLEMS_MAX, invalid, placed, value_at
from povwatch.spec.reader import Document, Fault, Malformed, Path, read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

    from povwatch.core.errors import SpecInvalid

SIZE_MAX = 64 * 1024
"""The most bytes in a JSON file."""

SURROGATE = re.compile("[\ud800-\udfff]")

MESSAGES = {
    "missing": "is missing",
    "literal_error": "is none of the allowed values",
    "int_type": "is no whole number",
    "int_parsing": "is no whole number",
    "int_from_float": "is no whole number",
    "float_type": "is no number",
    "float_parsing": "is no number",
    "finite_number": "is no number that can be used",
    "bool_type": "is neither true nor false",
    "bool_parsing": "is neither true nor false",
    "string_type": "is no text",
    "tuple_type": "is no list",
    "too_short": "is an empty list",
    "model_type": "is no object",
    "dict_type": "is no object",
    "greater_than": "is too small",
    "greater_than_equal": "is too small",
    "less_than_equal": "is too large",
}
"""pydantic's error types, and our message for each; the message follows the field's name."""


@dataclass(frozen=True, slots=True)
class Label:
    """The names of a clip."""

    clip: bytes
    """Its file name."""
    name: bytes
    """The `name` that povwatch writes (`Job.label`)."""


_STRINGS = json.JSONDecoder()


def parse(data: bytes, *, clip_name: bytes, file: str) -> Spec:
    """Parse a spec.

    Args:
        clip_name: the file name of the clip beside the JSON; `video_path` must name it.
        file: the JSON's name, for messages.

    Raises:
        SpecInvalid: lists everything that is wrong, in the file's order.
    """
    document = _read(data, file)
    halves = _half_characters(document)
    faults = [*document.faults, *halves]
    value = document.value
    if not isinstance(value, dict):
        fault = Fault(
            document.values[()], "the file holds no object", 'Begin it with { and end it with }: {"prompt": ...}'
        )
        raise invalid(file, placed([fault], document))
    members = cast("dict[str, Any]", value)
    faults += _other_clip(members, document, clip_name)
    spec = None
    if not halves:  # otherwise pydantic only says that it cannot read the object
        try:
            spec = Spec.model_validate(_printable(members))
        except ValidationError as error:
            known = {fault.path for fault in faults}
            found = (_fault(detail, document, clip_name) for detail in error.errors(include_url=False)[:PROBLEMS_MAX])
            faults += [fault for fault in found if fault.path not in known]
    if faults or spec is None:
        raise invalid(file, placed(faults, document))
    return spec


def named_clip(data: bytes) -> str | None:
    """The clip that `video_path` names, even in an invalid spec; None if it names none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    named = value.get("video_path") if isinstance(value, dict) else None
    return named.removeprefix("./") if isinstance(named, str) else None


def names_other(data: bytes, clip: bytes) -> bytes | None:
    """The file name of another clip that `video_path` names; None if it names this one, or none.

    `clip` is the file name of the clip beside the JSON.
    """
    try:
        name = (named_clip(data) or "").encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character: no file is called so
        return None
    return name if name and name != clip and b"/" not in name else None


def renamed(data: bytes, was: Label, now: Label) -> bytes:
    """The JSON for a renamed clip: corrects `video_path`, and `name` if povwatch had written it.

    Other bytes stay as they are. Bytes that are no JSON, or that name another clip, stay unchanged.
    """
    if named_clip(data) != was.clip.decode("utf-8", "surrogateescape"):
        return data
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    try:
        text = data.decode("utf-8-sig")
        document = read(text)
    except ValueError:
        return data
    members = cast("dict[str, Any]", document.value)
    mended = {("video_path",): as_json(now.clip)}
    if members.get("name") == _label(was.name):
        mended["name",] = as_json(_label(now.name).encode())
    for path in sorted(mended, key=lambda path: document.values[path], reverse=True):
        begin = document.values[path]
        _, end = _STRINGS.raw_decode(text, begin)
        text = text[:begin] + mended[path] + text[end:]
    return mark + text.encode()


def _label(base: bytes) -> str:
    """The `name` in a new clip's JSON."""
    return base.decode("utf-8", "backslashreplace")


def located(data: bytes, problem: Problem) -> Problem:
    """The problem with its place in a JSON that parses: its field, or the object that lacks the field."""
    try:
        document = read(data.decode("utf-8-sig"))
    except ValueError:
        return problem
    path = tuple(problem.field.split("."))
    for known in (path, path[:-1]):
        if known and (at := document.values.get(known)) is not None:
            (found,) = placed([Fault(at, problem.message, problem.todo, known)], document)
            return replace(found, field=problem.field, found=found.found if known == path else "")
    return problem


def refused(problems: Iterable[Problem], *, file: str, data: bytes) -> SpecInvalid:
    """The error for a spec that parses but has other problems, one at least. `file` is the JSON's name for messages."""
    return invalid(file, sorted((located(data, problem) for problem in problems), key=lambda found: found.line))


def _read(data: bytes, file: str) -> Document:
    """Read the file as a document.

    Raises:
        SpecInvalid: it is too large, not UTF-8, empty, or no JSON.
    """
    if len(data) > SIZE_MAX:
        problem = Problem(
            f"the file has {len(data):,} bytes or more; a spec has at most {SIZE_MAX:,}",
            "Is it the right file? Move it away, and a new one is written.",
        )
        raise invalid(file, [problem])
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise invalid(file, [Problem("the file is in UTF-16", "Save it as UTF-8: editors call this the encoding.")])
    try:
        text = data.decode("utf-8-sig")  # Windows' Notepad puts a byte order mark in front
    except UnicodeDecodeError as error:
        at = len(error.object[: error.start].decode())
        message = f"the file is not UTF-8: a byte 0x{error.object[error.start]:02x}"
        fault = Fault(at, message, "Save it as UTF-8: editors call this the encoding.")
        raise invalid(file, placed([fault], Document(error.object.decode(errors="replace")))) from None
    if not text.strip():
        todo = "Delete it, and a new one is written; or fill it in."
        raise invalid(file, [Problem("the file is empty", todo, line=1, column=1)])
    try:
        return read(text)
    except Malformed as error:
        raise invalid(file, placed([error.fault], Document(text))) from None


def _half_characters(document: Document) -> list[Fault]:
    r"""Escapes like \ud83d, half a character each. Only `video_path` may hold them, for names that are not UTF-8."""
    faults = []
    for path, at in document.values.items():
        value = value_at(document, path)
        key = path[-1] if path else ""
        if isinstance(key, str) and SURROGATE.search(key):
            faults.append(Fault(document.keys[path], "has half a character in its name", "Delete it.", path))
        elif isinstance(value, str) and path != ("video_path",) and SURROGATE.search(value):
            faults.append(Fault(at, "has half a character in it", "Delete the \\ud... escape.", path))
    return faults


def _other_clip(members: dict[str, Any], document: Document, clip_name: bytes) -> list[Fault]:
    """The fault that `video_path` names another clip; empty if it does not."""
    named, path = members.get("video_path"), ("video_path",)
    if not isinstance(named, str) or not named.strip():
        return []  # the model reports this
    try:
        name = named.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        name = b""
    while name.startswith(b"./"):
        name = name[2:].lstrip(b"/")
    if name == clip_name:
        return []
    message = "names another clip than the one that this file stands beside"
    if _composed(name) == _composed(clip_name):
        message = "is spelled with other characters that look the same"
    todo = f'If the rest is meant for this clip, write "video_path": {as_json(clip_name)}'
    return [Fault(document.values[path], message, todo, path)]


def as_json(name: bytes) -> str:
    """A file name as a JSON string that stands for exactly these bytes, as os.fsdecode decodes them."""
    text = name.decode("utf-8", "surrogateescape")
    plain = text.isprintable() and _composed(name) == name
    return json.dumps(text, ensure_ascii=not plain)


def _composed(name: bytes) -> bytes:
    return unicodedata.normalize("NFC", name.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _printable(members: dict[str, Any]) -> dict[str, Any]:
    """The members with a printable `video_path`: it has been compared already, and nothing opens it."""
    named = members.get("video_path")
    if not isinstance(named, str):
        return members
    return members | {"video_path": SURROGATE.sub(lambda half: f"\\x{ord(half.group()) & 0xFF:02x}", named)}


def _fault(detail: ErrorDetails, document: Document, clip_name: bytes) -> Fault:
    """An error of pydantic as a fault, with our message and its place."""
    kind, context = detail["type"], detail.get("ctx", {})
    path: Path = detail["loc"]
    if field := context.get("field"):
        path = (*path, *field.split("."))
    if kind == "extra_forbidden":
        return Fault(document.keys[path], "is unknown", hints.meant(path), path)
    message = context.get("message") or MESSAGES.get(kind) or f"is not allowed: {detail['msg']}"
    todo = context.get("todo") or _todo(path, kind, detail["input"], clip_name)
    at = document.values[path] if path in document.values else document.values[path[:-1]]
    return Fault(at, message, todo, path)


def _todo(path: Path, kind: str, value: object, clip_name: bytes) -> str:
    verb = "Add" if kind == "missing" else "Write"
    if path == ("video_path",):
        return f'{verb} "video_path": {as_json(clip_name)}'
    if kind == "missing":
        return f'Add "{path[-1]}": "...".'
    allowed = hints.allowed(path)
    if isinstance(value, (int, float)) and f'"{value}"' in allowed:
        return f'Put it in double quotes: "{value}".'
    return f"Write {allowed}." if allowed else ""
