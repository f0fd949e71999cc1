"""What the configuration gives a clip: its first JSON, from the template of its folder, and its priority. Pure.

Patterns of folders: `driving/**` matches the folder `driving` and everything below it; `*/night` matches `night` one
level down. The first match wins.
"""

from __future__ import annotations

import json
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, TypeVar

from povwatch.config.settings import FolderDefaults
from povwatch.core import layout
from povwatch.core.errors import ConfigError
from povwatch.spec.choices import draw
from povwatch.spec.parse import as_json
from povwatch.spec.placeholders import BadText
from povwatch.spec.variables import filled, names_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.config.settings import SpecDefaults
    from povwatch.spec.model import Spec
    from povwatch.spec.prompts import Template
    from povwatch.spec.variables import Facts

T = TypeVar("T")


def choose(
    defaults: SpecDefaults, templates: Mapping[str, Template], clip: bytes, *, template: str | None = None
) -> Template:
    """The template of a clip, with its folder's own negative prompt if there is one.

    `clip` is relative to inputs/. A requested template overrides the folder's.

    Raises:
        ConfigError: the folder's negative prompt and a requested template have different choices of one name, or one
            has the name of a choice that the other lacks.
    """
    folder = folder_of(defaults, clip)
    chosen = templates[template or folder.template or defaults.template]
    if not folder.negative_prompt:
        return chosen
    own = replace(chosen, negative_prompt=folder.negative_prompt)
    try:
        _ = own.choices
    except BadText as error:
        what = (
            f"The template {chosen.name} does not go with the negative prompt of {_shown(clip)}: {error.key}: {error}."
        )
        raise ConfigError(what, error.todo) from error
    return own


def variants_for(defaults: SpecDefaults, clip: bytes) -> tuple[str, ...]:
    """The templates of the further looks that a new clip gets. `clip` is relative to inputs/."""
    own = folder_of(defaults, clip).variants
    return defaults.variants if own is None else own


def needs_duration(template: Template) -> bool:
    """Whether the JSON needs the clip's duration, for which the clip has to be probed."""
    return any("duration" in names_in(text) for text in template.texts.values())


def needs_digest(template: Template) -> bool:
    """Whether the JSON needs the clip's digest, for which the clip has to be read: the template has choices."""
    return bool(template.choices)


def first_spec(
    defaults: SpecDefaults,
    template: Template,
    label: bytes,
    facts: Facts,
    *,
    look: str = "",
    seed: int | None = None,
    changes: Mapping[str, Any] | None = None,
) -> bytes:
    """The text of the JSON. Upstream's command line accepts it, once the block "povwatch" is taken out if it has one.

    Args:
        defaults: what the template leaves open.
        template: one that `choose` gives.
        label: what upstream's command line would call the result: the clip's base, or that with the look.
        facts: with what `needs_duration` and `needs_digest` ask for.
        look: the look's name; empty for the clip's own JSON.
        seed: instead of `spec.seed`.
        changes: fields that replace the template's, as `merged` has it.
    """
    changes = {"seed": defaults.seed if seed is None else seed, **(changes or {})}
    drawn = _drawn(template, facts, seed=changes["seed"], look=look)
    _, name = layout.split(facts.path)
    members: dict[str, Any] = {
        "name": "",
        "video_path": "",
        "prompt": template.prompt,
        "negative_prompt": template.negative_prompt,
        "seed": None,
        "guidance": defaults.guidance,
        **template.settings,
        **(template.controls or {str(key): {"control_weight": float(w)} for key, w in defaults.controls.items()}),
    }
    members = {key: _filled(value, facts, drawn) for key, value in members.items()}
    own: dict[str, Any] = {}
    if defaults.keep and "guided_generation_mask" not in members:  # the template says itself what is kept
        own |= {"keep": defaults.keep, "dilate": defaults.dilate}
    if drawn:
        own["drawn"] = drawn
    if own:
        members["povwatch"] = own
    members = merged(members, changes)
    texts = {key: _as_text(value) for key, value in members.items() if value is not None}
    texts["name"] = as_json(label.decode("utf-8", "backslashreplace").encode())  # only a label: no half characters
    texts["video_path"] = as_json(name)
    lines = ",\n".join(f'  "{key}": {text}' for key, text in texts.items())
    return f"{{\n{lines}\n}}\n".encode()


def merged(members: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a JSON with others in their place.

    An object is merged into the object that is there. None takes a field out, also from an object.
    """
    found = dict(members)
    for key, value in changes.items():
        if isinstance(value, dict):
            there = found.get(key)
            inside = merged(there if isinstance(there, dict) else {}, value)
            if inside or not value or isinstance(there, dict):  # what is not there needs no taking out
                found[key] = inside
        elif value is None:
            found.pop(key, None)
        else:
            found[key] = value
    return found


def _drawn(template: Template, facts: Facts, *, seed: int, look: str) -> dict[str, str]:
    """The words of each of the template's choices."""
    choices = template.choices
    if not choices:
        return {}
    if facts.digest is None:
        raise ValueError(f"{template.name} has choices, and the clip's digest is not known")
    return draw(choices, seed=seed, digest=facts.digest, look=look)


def _filled(value: Any, facts: Facts, drawn: Mapping[str, str]) -> Any:  # noqa: ANN401 - whatever a field holds
    """A field with the placeholders in its texts filled in."""
    if isinstance(value, str):
        return filled(value, facts, drawn)
    if isinstance(value, dict):
        return {key: filled(each, facts, drawn) if isinstance(each, str) else each for key, each in value.items()}
    return value


def _as_text(value: Any) -> str:  # noqa: ANN401 - whatever a field holds
    """A field as JSON, indented for its place. What JSON does not have, such as TOML's dates, becomes a text."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str).replace("\n", "\n  ")


def folder_of(config: SpecDefaults, clip: bytes) -> FolderDefaults:
    """The defaults of the first matching pattern in [spec.folders], or empty ones. `clip` is relative to inputs/."""
    return _first(config.folders, clip, FolderDefaults())


def priority_for(config: SpecDefaults, clip: bytes, spec: Spec) -> int:
    """The JSON's priority, else that of the first matching pattern in [spec.priorities], else 0.

    `clip` is relative to inputs/.
    """
    own = spec.povwatch
    return own.priority if "priority" in own.model_fields_set else _first(config.priorities, clip, 0)


def _first(patterns: Mapping[str, T], clip: bytes, default: T) -> T:
    folder = _shown(clip)
    for pattern, value in patterns.items():
        whole = pattern.removesuffix("/**")
        if fnmatchcase(folder, whole) or (whole != pattern and fnmatchcase(folder, f"{whole}/*")):
            return value
    return default


def _shown(clip: bytes) -> str:
    """The clip's folder below inputs/."""
    return layout.shown(layout.split(clip)[0])
