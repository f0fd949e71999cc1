"""What a clip's folder asks for: its template, its negative prompt, and its priority. Pure.

Patterns: `driving/**` fits the folder `driving` and all below it; `*/night` fits one folder below any. The first match
wins.
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
    """What the first pattern of [spec.folders] that fits says; nothing, where none does.

    Args:
        config: [spec] of the configuration.
        clip: its path, relative to inputs/.
    """
    return _first(config.folders, clip, FolderDefaults())


def priority_for(config: SpecDefaults, clip: bytes, spec: Spec) -> int:
    """What the JSON says; else the first pattern of [spec.priorities] that fits the clip's folder; else 0.

    Args:
        config: [spec] of the configuration.
        clip: its path, relative to inputs/.
        spec: its JSON.
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
