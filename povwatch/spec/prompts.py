"""Prompt templates, povwatch's own and the user's. They are checked before any clip needs one.

A template is a TOML file whose name is the template's name. It has a prompt, and may have a negative prompt, and
controls and other fields of the JSON, under the JSON's own names. Its texts may contain variables and choices: see
placeholders.py. povwatch's own templates are in povwatch/prompts/.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.config.faults import line_of, suggestion
from povwatch.config.settings import SpecDefaults
from povwatch.core.cosmos import CONTROLS
from povwatch.core.errors import ConfigError, SpecInvalid
from povwatch.core.looks import refusal
from povwatch.spec.choices import choices_in
from povwatch.spec.first import first_spec
from povwatch.spec.model import DEFAULT_NEGATIVE_PROMPT
from povwatch.spec.parse import parse
from povwatch.spec.placeholders import BadText
from povwatch.spec.variables import Facts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from importlib.resources.abc import Traversable

    from povwatch.config.settings import Config

PROMPTS = ("prompt", "negative_prompt")

SETTINGS = (
    "guidance",
    "num_steps",
    "guided_generation_mask",
    "guided_generation_step_threshold",
    "guided_generation_foreground_labels",
)
"""The JSON's other fields that a template may set."""

FIELDS = ("description", *PROMPTS, *SETTINGS, *CONTROLS)

SAMPLE = Facts(b"clip.mp4", "2026-05-31", 12.0, "0" * 64)
"""A clip that a template's JSON is made for, to check the template."""


@dataclass(frozen=True, slots=True)
class Template:
    """The prompts for one kind of clip, and the controls and settings that go with them."""

    name: str
    prompt: str
    negative_prompt: str = DEFAULT_NEGATIVE_PROMPT
    description: str = ""
    """The kind of clip, in one sentence."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the JSON, as in SETTINGS."""
    controls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Its controls, with their fields as in the JSON; empty for those of `spec.controls`."""
    text: str = field(default="", compare=False)
    """The text of its file."""
    place: str = field(default="", compare=False)
    """The path of that file."""

    @property
    def texts(self) -> dict[str, str]:
        """Its texts that may contain placeholders, by key, such as "prompt" or "seg.mask_path"."""
        prompts = {"prompt": self.prompt, "negative_prompt": self.negative_prompt}
        settings = dict(_texts_in(self.settings))
        controls = {
            f"{control}.{key}": text for control, fields in self.controls.items() for key, text in _texts_in(fields)
        }
        return prompts | settings | controls

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """The alternatives of each of its choices, by name.

        Raises:
            BadText: one of its texts cannot be used.
        """
        return choices_in(self.texts)


def configured_templates(config: Config) -> dict[str, Template]:
    """All templates by name, ours and the user's.

    Raises:
        ConfigError: a template cannot be used, or the configuration names an unknown one.
    """
    templates = load_templates(Path(config.spec.templates) if config.spec.templates else None)
    check_name(config.spec.template, templates, f"{config.origin}: spec.template = {config.spec.template!r}")
    for pattern, folder in config.spec.folders.items():
        name = folder.template or config.spec.template
        check_name(name, templates, f'{config.origin}: spec.folders."{pattern}" = {name!r}')
        if folder.negative_prompt:
            _check_negative(config, templates[name], pattern, folder.negative_prompt)
        _check_variants(config, templates, f'spec.folders."{pattern}".variants', folder.variants or ())
    _check_variants(config, templates, "spec.variants", config.spec.variants)
    return templates


def templates_used(config: Config) -> list[str]:
    """The templates that the configuration names for new clips and their looks, by name."""
    spec, folders = config.spec, config.spec.folders.values()
    found = {spec.template, *spec.variants, *(folder.template for folder in folders if folder.template)}
    return sorted(found.union(*(folder.variants or () for folder in folders)))


def _check_variants(config: Config, templates: Collection[str], key: str, names: Collection[str]) -> None:
    """Check that the templates of further looks exist, and that looks may have their names.

    Raises:
        ConfigError: one cannot be used; `key` names the setting.
    """
    for name in names:
        check_name(name, templates, f"{config.origin}: {key}: {name!r}")
        if why := refusal(name, b""):
            raise ConfigError(f"{config.origin}: {key}: {why}", "Give the template's file another name.")
    if len(names) > config.spec.variants_max:
        what = (
            f"{config.origin}: {key} has {len(names)} templates, and spec.variants_max is {config.spec.variants_max}."
        )
        raise ConfigError(what, "Name fewer, or raise spec.variants_max.")


def load_templates(extra: Path | None) -> dict[str, Template]:
    """All templates by name; those of the user's folder (`extra`, which may be missing) replace ours of the same name.

    Raises:
        ConfigError: a template cannot be read; names the file and the line.
    """
    if extra is None or not extra.exists():
        return dict(_ours())
    if not extra.is_dir():
        raise ConfigError(f"{extra} is no folder.", "Point spec.templates at a folder, or empty it.")
    return _ours() | _templates_in(extra)


@cache
def _ours() -> dict[str, Template]:
    """Povwatch's own templates by name. Checking them takes longer than the user's."""
    return _templates_in(resources.files("povwatch") / "prompts")


def _templates_in(folder: Traversable) -> dict[str, Template]:
    templates = {}
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


def _template(name: str, file: Traversable) -> Template:
    text, values = _read(file)
    for key in values:
        if key not in FIELDS:
            todo = f"A template has {', '.join(FIELDS)}.{suggestion(key, FIELDS).replace('did', 'Did')}"
            raise ConfigError(f"{_place(file, text, [key])}: {key} is unknown.", todo)
    said = {key: values[key] for key in ("description", *PROMPTS) if key in values}
    for key, value in ({"prompt": None} | said).items():
        if not isinstance(value, str) or not value.strip():
            todo = f'Write {key} = "...", or move the file away.'
            raise ConfigError(f"{_place(file, text, [key])}: {key} is missing or no text.", todo)
    controls = {key: values[key] for key in CONTROLS if key in values}
    for key, value in controls.items():
        if not isinstance(value, dict):
            todo = f"Write [{key}] on a line of its own at the end of the file, and control_weight = 1.0 below it."
            raise ConfigError(f"{_place(file, text, [key])}: {key} is no table.", todo)
    settings = {key: values[key] for key in SETTINGS if key in values}
    template = Template(name, **said, settings=settings, controls=controls, text=text, place=str(file))
    _check_template(template, file)
    return template


def _read(file: Traversable) -> tuple[str, dict[str, Any]]:
    """A template's text and its values."""
    try:
        text = file.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
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


def _check_template(template: Template, file: Traversable) -> None:
    """Check a template's texts, and the JSON that it makes."""
    try:
        _ = template.choices
    except BadText as error:
        place = _place(file, template.text, error.key.split("."), error.found)
        raise ConfigError(f"{place}: {error.key}: {error}.", error.todo) from error
    if not template.settings and not template.controls:
        return
    try:
        parse(first_spec(SpecDefaults(), template, b"clip", SAMPLE), clip_name=b"clip.mp4", file=str(file))
    except SpecInvalid as error:
        problem = error.problems[0]
        place = _place(file, template.text, problem.field.split("."))
        found = f" (found {problem.found})" if problem.found else ""
        raise ConfigError(f"{place}: {problem.sentence.rstrip('.')}{found}.", problem.todo) from error


def _check_negative(config: Config, template: Template, pattern: str, text: str) -> None:
    """Check a folder's own negative prompt together with the template that it is used with."""
    try:
        _ = replace(template, negative_prompt=text).choices
    except BadText as error:
        file = Path(config.origin)
        written = file.read_text("utf-8") if file.is_file() else ""
        place = _place(file, written, ["spec.folders", f'"{pattern}"'], error.found)
        whose = "" if error.key == "negative_prompt" else f" with the template {template.name}: {error.key}"
        raise ConfigError(f'{place}: spec.folders."{pattern}": negative_prompt{whose}: {error}.', error.todo) from error


def _texts_in(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((key, text) for key, text in fields.items() if isinstance(text, str))


def _place(file: object, text: str, where: Sequence[str], found: str = "") -> str:
    """A file and the line of a key in it, or of the first `found` after that."""
    line = line_of(text, where) or (line_of(text, where[:1]) if where else None)
    if line is None:
        return str(file)
    lines = text.splitlines()
    there = (number for number, words in enumerate(lines[line - 1 :], line) if found and found in words)
    return f"{file}, line {next(there, line)}"
