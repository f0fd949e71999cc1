"""Loads the configured templates and checks them, before any clip needs one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.config.faults import near
from povwatch.core.errors import ConfigError
from povwatch.spec.prompts import check_variables, load_templates

if TYPE_CHECKING:
    from collections.abc import Collection

    from povwatch.config.settings import Config
    from povwatch.spec.prompts import Template


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


def check_name(name: str, templates: Collection[str], said: str) -> None:
    """Check that a template exists.

    Args:
        said: where the name was written, and how; the error message begins with it.

    Raises:
        ConfigError: there is no such template.
    """
    if name not in templates:
        meant = near(name, templates).replace("did", "Did")
        raise ConfigError(f"{said} is no template.", f"There are {', '.join(sorted(templates))}.{meant}")
