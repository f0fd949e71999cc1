"""Which template a clip's folder asks for. Pure."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from povwatch import layout

if TYPE_CHECKING:
    from povwatch.config import SpecDefaults


def template_for(config: SpecDefaults, clip: bytes) -> str:
    """The template of the first pattern of [spec.folders] that fits, else spec.template.

    `driving/**` fits the folder `driving` and all below it; `*/night` fits one folder below any.

    Args:
        config: [spec] of the configuration.
        clip: its path, relative to inputs/.
    """
    folder = layout.shown(layout.split(clip)[0])
    for pattern, template in config.folders.items():
        whole = pattern.removesuffix("/**")
        if fnmatchcase(folder, whole) or (whole != pattern and fnmatchcase(folder, f"{whole}/*")):
            return template
    return config.template
