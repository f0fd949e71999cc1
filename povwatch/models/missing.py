"""Tells which of the configured engine's model files are missing, and their size, without torch or the network."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.core.command import command
from povwatch.core.errors import ConfigError
from povwatch.core.sentences import joined
from povwatch.engines.needs import Wishes, approximate_size, needs
from povwatch.engines.port import EngineFailure
from povwatch.engines.transfer import settings, weights

if TYPE_CHECKING:
    from povwatch.config.settings import Config


YES = frozenset({"1", "ON", "YES", "TRUE"})
"""Values of HF_HUB_OFFLINE that keep the hub's client off the network."""

SHOWN = 3
"""The most names that are listed in a line."""


def missing_files(kind: str, config: Config) -> str:
    """Which of an engine's model files are missing or unusable, and what to do, as a part of a sentence.

    Empty if none is known to be missing. An engine that may use the network fetches missing files itself.
    """
    engine = config.engine
    if kind == "diffusers" and engine.model and _is_folder(engine.model):
        return _of_folder(config)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() not in YES:
        return ""
    try:
        wanted = needs(kind, wishes(config))
    except ConfigError as error:
        return str(error).rstrip(". ")
    # Imported late: the hub's client is slow to import, and only a machine without a network needs it here.
    from povwatch.models import record  # noqa: PLC0415

    snapshots = record.load(config.paths.state)
    for need in wanted:
        seen = record.presence(need, snapshots)
        if not seen.there and not need.computes:
            names = [name for name in seen.missing if "*" not in name][:SHOWN]
            files = f"{', '.join(names)} of {need.repository}" if names else need.repository
            fetch = command("prefetch", "--engine", kind)
            return f"{files} ({need.why}) is not here, and HF_HUB_OFFLINE is set: run {fetch}"
    return ""


def weights_size(kind: str, config: Config) -> int:
    """Bytes of an engine's weights; 0 if unknown."""
    folder = Path(config.engine.model).expanduser()
    if kind == "diffusers" and config.engine.model and folder.is_dir():
        return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    try:
        return approximate_size(kind, wishes(config))
    except ConfigError:
        return 0


def wishes(config: Config, *, mask_prompts: bool = False) -> Wishes:
    """What the configured engine is to do, as far as that decides which files it needs."""
    engine = config.engine
    model = engine.model
    if "/" in model and Path(model).expanduser().is_dir():  # as the engine tells a folder from a repository
        model = str(Path(model).expanduser().resolve())
    return Wishes(tuple(engine.controls), model, engine.guardrails, mask_prompts)


def _is_folder(model: str) -> bool:
    """Whether the setting names a folder, by the rule of transfer.weights."""
    folder = Path(model).expanduser()
    return folder.is_absolute() or folder.exists()


def _of_folder(config: Config) -> str:
    engine = config.engine
    try:
        weights.locate(settings.Settings(model=engine.model, controls=tuple(engine.controls), offline=True))
    except EngineFailure as failure:
        todo = failure.todo
        if todo == weights.prefetch():  # it does not fetch into folders
            todo = f"Put it there, or take engine.model out and run {command('prefetch', '--engine', 'diffusers')}"
        return joined(failure.message, todo).rstrip(".")
    except (OSError, ValueError, LookupError) as error:
        return f"{engine.model} (engine.model) cannot be read: {error}"
    return ""
