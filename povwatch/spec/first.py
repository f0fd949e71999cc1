"""What the configuration gives a clip: its first JSON, from the template of its folder, and its priority. Pure.

Patterns of folders: `driving/**` matches the folder `driving` and everything below it; `*/night` matches `night` one
level down. The first match wins.
"""

from __future__ import annotations

import json
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

from povwatch.config.settings import FolderDefaults
from povwatch.core import layout
from povwatch.spec.parse import as_json
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
    """
    folder = folder_of(defaults, clip)
    chosen = templates[template or folder.template or defaults.template]
    return replace(chosen, negative_prompt=folder.negative_prompt) if folder.negative_prompt else chosen


def needs_duration(template: Template) -> bool:
    """Whether the JSON needs the clip's duration, for which the clip has to be probed."""
    return "duration" in names_in(template.prompt) + names_in(template.negative_prompt)


def first_spec(defaults: SpecDefaults, template: Template, label: bytes, facts: Facts) -> bytes:
    """The text of the JSON. Upstream's command line accepts it unchanged.

    `label` is what upstream's command line would call the result: the clip's base, or that with the look.
    """
    _, name = layout.split(facts.path)
    members = {
        "name": as_json(label.decode("utf-8", "backslashreplace").encode()),  # only a label: no half characters
        "video_path": as_json(name),
        "prompt": json.dumps(filled(template.prompt, facts), ensure_ascii=False),
        "negative_prompt": json.dumps(filled(template.negative_prompt, facts), ensure_ascii=False),
        "seed": str(defaults.seed),
        "guidance": str(defaults.guidance),
    }
    for control, weight in defaults.controls.items():
        members[str(control)] = f'{{\n    "control_weight": {float(weight)!r}\n  }}'
    lines = ",\n".join(f'  "{key}": {value}' for key, value in members.items())
    return f"{{\n{lines}\n}}\n".encode()


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
    folder = layout.shown(layout.split(clip)[0])
    for pattern, value in patterns.items():
        whole = pattern.removesuffix("/**")
        if fnmatchcase(folder, whole) or (whole != pattern and fnmatchcase(folder, f"{whole}/*")):
            return value
    return default
