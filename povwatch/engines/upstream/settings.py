"""Reads the cosmos engine's part of the configuration."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import Any

from povwatch.core.cosmos import CONTROLS
from povwatch.engines.port import EngineFailure
from povwatch.engines.upstream.ability import ALL, DISTILLED, unloadable


@dataclass(frozen=True)
class Settings:
    """The model to load, and how."""

    controls: tuple[str, ...]
    """One hint key, or all four, in upstream's order."""
    model: str
    """Upstream's model name: a hint key, or `edge/distilled`."""
    guardrails: bool
    offload_guardrails: bool
    """Whether the guardrail's models stay in main memory between uses: slower, but frees some 20 GB of the GPU."""
    gpus: int
    """GPUs that do one job together; their processes are called ranks."""
    folder: str
    """A private folder for files that upstream writes while it loads."""

    @property
    def distilled(self) -> bool:
        """Whether it is a distilled model: few steps, and no guidance."""
        return self.model.endswith(DISTILLED)

    @classmethod
    def parse(cls, config: dict[str, Any]) -> Settings:
        """Read the settings from the configuration; `output_dir` is made if it is missing.

        Raises:
            EngineFailure: A value is invalid; the message names its key.
        """
        controls = config.get("controls", ["edge"])
        if not isinstance(controls, (list, tuple)) or not all(isinstance(key, str) for key in controls):
            raise EngineFailure("invalid", f"engine.controls is {controls!r}, not a list of names.")
        problem = unloadable(controls)
        if problem is not None:
            raise EngineFailure("invalid", problem, 'Correct engine.controls: ["edge"], say.')
        controls = tuple(key for key in CONTROLS if key in controls)
        gpus = config.get("gpus_per_worker", 1)
        if type(gpus) is not int or gpus < 1:
            raise EngineFailure("invalid", f"engine.gpus_per_worker is {gpus!r}, not a count of GPUs.")
        return cls(
            controls=controls,
            model=_model(config.get("model"), controls),
            guardrails=_switch(config, "guardrails", default=True),
            offload_guardrails=_switch(config, "offload_guardrails", default=False),
            gpus=gpus,
            folder=_folder(config.get("output_dir")),
        )


def _model(model: object, controls: tuple[str, ...]) -> str:
    """The model's name. It has to match the control, which upstream does not check."""
    if not model:
        return controls[0]
    if len(controls) > 1:
        allowed = controls[:1]  # upstream loads all four for any name, but would believe "distilled"
    else:
        allowed = (controls[0], controls[0] + DISTILLED) if controls[0] == "edge" else (controls[0],)
    if model not in allowed:
        raise EngineFailure(
            "invalid",
            f"engine.model is {model!r}, which does not go with engine.controls = {list(controls)}.",
            f"Use {' or '.join(repr(name) for name in allowed)}, leave it out, or {ALL}.",
        )
    return str(model)


def _switch(config: dict[str, Any], key: str, *, default: bool) -> bool:
    """A boolean setting. No other value counts as false, since turning the guardrails off must be meant."""
    value = config.get(key, default)
    if not isinstance(value, bool):
        raise EngineFailure("invalid", f"engine.{key} is {value!r}, not true or false.")
    return value


def _folder(folder: object) -> str:
    if not folder:
        return tempfile.mkdtemp(prefix="povwatch-cosmos-")
    folder = os.path.realpath(str(folder))
    os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - text paths throughout, as upstream takes them
    return folder
