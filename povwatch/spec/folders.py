"""The configured template, negative prompt and priority of a clip's folder. Pure.

Patterns: `driving/**` matches the folder `driving` and everything below it; `*/night` matches `night` one level down.
The first match wins.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

from povwatch.config.settings import FolderDefaults
from povwatch.core import layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.config.settings import SpecDefaults
    from povwatch.spec.model import Spec

T = TypeVar("T")


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
