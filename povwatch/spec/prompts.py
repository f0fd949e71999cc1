"""Prompt templates, povwatch's own and the user's. They are checked before any clip needs one.

A template is a TOML file whose name is the template's name. Its texts may contain variables in braces: see
variables.py. povwatch's own templates are in povwatch/prompts/.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.config.faults import suggestion
from povwatch.core.errors import ConfigError
from povwatch.spec.model import DEFAULT_NEGATIVE_PROMPT
from povwatch.spec.variables import names_in

if TYPE_CHECKING:
    from collections.abc import Collection
    from importlib.resources.abc import Traversable

    from povwatch.config.settings import Config

FIELDS = frozenset({"prompt", "negative_prompt", "description"})


@dataclass(frozen=True, slots=True)
class Template:
    """The prompts for one kind of clip."""

    name: str
    prompt: str
    negative_prompt: str = DEFAULT_NEGATIVE_PROMPT
    description: str = ""
    """The kind of clip, in one sentence."""
    text: str = field(default="", compare=False)
    """The text of its file."""
    place: str = field(default="", compare=False)
    """The path of that file."""


def configured_templates(config: Config) -> dict[str, Template]:
    """All templates by name, ours and the user's.

    Raises:
        ConfigError: a template cannot be used, or the configuration names an unknown one.
    """
    templates = load_templates(Path(config.spec.templates) if config.spec.templates else None)
    wanted = {"spec.template": config.spec.template}
    for pattern, folder in config.spec.folders.items():
        key = f'spec.folders."{pattern}"'
        if folder.template:
            wanted[key] = folder.template
        check_variables(folder.negative_prompt, f"{config.origin}: {key}: negative_prompt")
    for key, template in wanted.items():
        check_name(template, templates, f"{config.origin}: {key} = {template!r}")
    return templates


def load_templates(extra: Path | None) -> dict[str, Template]:
    """All templates by name; those of the user's folder (`extra`, which may be missing) replace ours of the same name.

    Raises:
        ConfigError: a template cannot be read; names the file and the line.
    """
    folders: list[Traversable] = [resources.files("povwatch") / "prompts"]
    if extra is not None and extra.exists():
        if not extra.is_dir():
            raise ConfigError(f"{extra} is no folder.", "Point spec.templates at a folder, or empty it.")
        folders.append(extra)
    templates = {}
    for folder in folders:
        for file in sorted(folder.iterdir(), key=lambda file: file.name):
            name = file.name.removesuffix(".toml")
            if name != file.name and not name.startswith("."):
                templates[name] = _template(name, file)
    return templates


def check_name(name: str, templates: Collection[str], found: str) -> None:
    """Check that a template exists.

    Args:
        found: where the name was written, and how; the error message begins with it.

    Raises:
        ConfigError: there is no such template.
    """
    if name not in templates:
        meant = suggestion(name, templates).replace("did", "Did")
        raise ConfigError(f"{found} is no template.", f"There are {', '.join(sorted(templates))}.{meant}")


def check_variables(text: str, where: str) -> None:
    """Check that a text uses only known variables.

    Raises:
        ConfigError: it does not; `where` names the text.
    """
    try:
        names_in(text)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}.", "Put it right: every new JSON would have it.") from error


def _template(name: str, file: Traversable) -> Template:
    try:
        file_text = file.read_text(encoding="utf-8")
        values = tomllib.loads(file_text)
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read: {error.strerror}.", "Let povwatch read it, or move it away."
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8.", "Save it as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        todo = 'A template has lines such as prompt = "...", each text on one line in double quotes.'
        raise ConfigError(f"{file} is no TOML: {error}.", todo) from error
    except (RecursionError, ValueError) as error:  # lists in lists in lists; a number of thousands of digits
        raise ConfigError(f"{file} cannot be read as TOML: {error}.", "Move it away, or write it anew.") from error
    for key in values:
        if key not in FIELDS:
            raise ConfigError(f"{file}: {key} is unknown.", f"A template has {', '.join(sorted(FIELDS))}.")
    for key in FIELDS & ({"prompt"} | values.keys()):
        text = values.get(key)
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"{file}: {key} is missing or no text.", f'Write {key} = "...", or move the file away.')
        if key != "description":
            check_variables(text, f"{file}: {key}")
    return Template(name, **values, text=file_text, place=str(file))
