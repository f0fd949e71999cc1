"""Tells whether a control can be computed here, without torch or the network. It takes a moment.

`povwatch prefetch` has checked the files; here they are looked for by name.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from povwatch.core.command import command
from povwatch.engines.annotate.annotation import MODELS
from povwatch.engines.libraries import LOCKED
from povwatch.engines.upstream.facts import hub_cache

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.engines.annotate.annotation import Model

OLDEST = 5
"""The oldest transformers, by the first number of its version."""

PREFETCH = command("prefetch", "--engine", "diffusers")


def folders(kind: str) -> list[Path]:
    """Where the models of a control are, in the order of MODELS; they may be missing."""
    return [_folder(model) for model in MODELS[kind]]


def lacking(kind: str) -> tuple[str, str]:
    """What is missing to compute a control, as a part of a sentence, and what to do; two empty texts if all is here."""
    try:
        there = version("transformers")
    except PackageNotFoundError:
        return f"transformers, which computes {kind}, is not installed", LOCKED
    if int(there.partition(".")[0]) < OLDEST:
        return f"transformers is {there} here, and {kind} is computed with {OLDEST} or newer", LOCKED
    for model in MODELS[kind]:
        names = [name for name in model.files if not (_folder(model) / name).is_file()]
        if names:
            files = f"{', '.join(names)} of " if len(names) < len(model.files) else ""
            return f"{files}{model.repository}, which computes {kind}, is not here", f"Run {PREFETCH}."
    return "", ""


def _folder(model: Model) -> Path:
    return hub_cache() / f"models--{model.repository.replace('/', '--')}" / "snapshots" / model.revision
