"""The first JSON of a clip: the template of its folder, filled in. Pure.

The daemon and `povwatch specs` share it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.spec.folders import folder_of
from povwatch.spec.prompts import default_spec
from povwatch.spec.variables import filled, names_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.config.settings import SpecDefaults
    from povwatch.spec.prompts import Template
    from povwatch.spec.variables import Facts


def choose(
    defaults: SpecDefaults, templates: Mapping[str, Template], clip: bytes, *, template: str | None = None
) -> Template:
    """The template of a clip, with its folder's own negative prompt if there is one.

    Args:
        defaults: [spec] of the configuration.
        clip: relative to inputs/.
        template: a requested template, which overrides the folder's.
    """
    folder = folder_of(defaults, clip)
    chosen = templates[template or folder.template or defaults.template]
    return replace(chosen, negative_prompt=folder.negative_prompt) if folder.negative_prompt else chosen


def needs_duration(template: Template) -> bool:
    """Whether the JSON needs the clip's duration, for which the clip has to be probed."""
    return "duration" in names_in(template.prompt) + names_in(template.negative_prompt)


def first_spec(defaults: SpecDefaults, template: Template, base: bytes, facts: Facts) -> bytes:
    """The text of the JSON.

    Args:
        base: what the clip's files are called (`layout.bases`).
    """
    chosen = replace(
        template,
        prompt=filled(template.prompt, facts),
        negative_prompt=filled(template.negative_prompt, facts),
    )
    _, name = layout.split(facts.path)
    weights = {str(key): weight for key, weight in defaults.controls.items()}
    return default_spec(name, base, chosen, controls=weights, seed=defaults.seed, guidance=defaults.guidance)
