"""Estimates the size of an engine's weights without loading them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.core.errors import ConfigError
from povwatch.models.lacking import wishes
from povwatch.models.needs import about

if TYPE_CHECKING:
    from povwatch.config.settings import Config


def weights(kind: str, config: Config) -> int:
    """Bytes of an engine's weights; 0 if unknown."""
    folder = Path(config.engine.model).expanduser()
    if kind == "diffusers" and config.engine.model and folder.is_dir():
        return sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    try:
        return about(kind, wishes(config))
    except ConfigError:
        return 0
