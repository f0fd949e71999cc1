"""The settings with which VS Code, and editors that read them, complete and check the JSONs while they are typed.

They are in .vscode/ beside inputs/, since nobody but the user writes in inputs/: VS Code finds them if that folder is
opened. The user's own settings stay: ours is added to a file that can be read without loss, and shown for any other.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from povwatch.core.command import command
from povwatch.core.errors import PovwatchError
from povwatch.spec.model import Spec

if TYPE_CHECKING:
    from pathlib import Path

FOLDER, SETTINGS, SCHEMA = ".vscode", "settings.json", "povwatch.schema.json"

SCHEMAS = "json.schemas"
"""The setting of VS Code: a list of `fileMatch` patterns, below the opened folder, with the `url` of a schema."""

OURS = "Made by povwatch; it makes this file anew."
"""A comment in the schema, by which our own file is known."""


@dataclass(frozen=True, slots=True)
class Installed:
    """What was done."""

    lines: list[str]
    """Lines for people."""
    todo: str = ""
    """What is left to the user, with the setting to paste; empty if nothing is."""


def install(inputs: Path) -> Installed:
    """Put the schema and the settings beside inputs/.

    Raises:
        PovwatchError: the folder cannot be written, or the schema's name is taken.
    """
    folder = inputs.parent / FOLDER
    try:
        folder.mkdir(exist_ok=True)
        lines = [_put_schema(folder / SCHEMA)]
        settings = _with_ours(folder / SETTINGS, inputs.name)
        if settings is None:
            lines.append(f"{folder / SETTINGS} is yours, with comments or in another form, and stays as it is.")
            return Installed(lines, f"Add this to it:\n\n{_snippet(inputs.name)}")
        lines.append(_put(folder / SETTINGS, settings))
    except OSError as error:
        raise PovwatchError(
            f"{error.filename or folder} cannot be written: {error.strerror}.",
            f"Run it as somebody who may write there, such as root: sudo {command('schema', '--install')}",
        ) from error
    lines.append(f"Open {inputs.parent} in VS Code: {inputs.name}/**/*.json is completed and checked as you type.")
    return Installed(lines)


def _put_schema(file: Path) -> str:
    if file.exists() and OURS not in file.read_text("utf-8", "replace"):
        raise PovwatchError(f"{file} was made by somebody else, and stays.", "Move it away, then run this again.")
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", "$comment": OURS, **Spec.model_json_schema()}
    return _put(file, json.dumps(schema, indent=2, ensure_ascii=False) + "\n")


def _with_ours(file: Path, inputs: str) -> str | None:
    """The settings with our schema in them; None if they cannot be changed without loss."""
    try:
        text = file.read_text("utf-8")
    except FileNotFoundError:
        return _snippet(inputs) + "\n"
    except UnicodeDecodeError:
        return None
    try:
        found = json.loads(text, object_pairs_hook=_without_twins) if text.strip() else {}
    except (ValueError, RecursionError):  # with comments, as VS Code allows
        return None
    if not isinstance(found, dict) or not isinstance(schemas := found.get(SCHEMAS, []), list):
        return None
    ours = _entry(inputs)
    if ours in schemas:
        return text
    kept = [one for one in schemas if not (isinstance(one, dict) and one.get("url") == ours["url"])]
    indent = re.search(r"\n([ \t]+)\"", text)
    changed = {**found, SCHEMAS: [*kept, ours]}
    return json.dumps(changed, indent=indent[1] if indent else 4, ensure_ascii=False) + "\n"


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice, and one of them would be lost")
    return found


def _entry(inputs: str) -> dict[str, Any]:
    # A report or another program's JSON is no spec: only those beside clips, at any depth.
    return {"fileMatch": [f"/{inputs}/**/*.json"], "url": f"./{FOLDER}/{SCHEMA}"}


def _snippet(inputs: str) -> str:
    return json.dumps({SCHEMAS: [_entry(inputs)]}, indent=4)


def _put(file: Path, text: str) -> str:
    """Write a file in one step, if it is not like that already."""
    if file.exists() and file.read_text("utf-8", "replace") == text:
        return f"{file} is up to date."
    part = file.with_name(f".{file.name}.part")
    part.write_text(text, "utf-8")
    if file.exists():
        part.chmod(file.stat().st_mode & 0o777)
    part.replace(file)
    return f"{file} is written."
