"""Decides how an engine's workers are started: with which configuration, and on which GPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from povwatch.engines.choice import MEMORY_NEEDED
from povwatch.engines.devices import shares

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from povwatch.config.settings import Config
    from povwatch.engines.choice import Choice
    from povwatch.gpu.nvml import Gpu, Gpus

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that hides every other GPU from CUDA."""

ORDER = "CUDA_DEVICE_ORDER"
"""The variable that says how CUDA counts the GPUs."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a worker is started."""

    python: str
    """The interpreter of the engine's environment."""
    engine: str
    """`package.module:Class` or `/path/to/file.py:Class`."""
    config: dict[str, Any]
    """The argument of the engine's `load`: JSON values."""
    env: Mapping[str, str]
    """Variables added to the daemon's environment."""


def launches(
    config: Config, choice: Choice, gpus: Gpus, *, taken: Collection[str] = (), number: int = 0
) -> list[Launch]:
    """How each worker is started.

    A worker of a real engine sees only its own GPUs: two workers on one GPU would run out of memory during a load.
    There are at most as many such workers as GPUs.

    Args:
        taken: The UUIDs of GPUs that have a worker already.
        number: Workers that are there already.
    """
    needed, engine = MEMORY_NEEDED.get(choice.kind), config.engine
    if needed is None:
        return [
            Launch(choice.python, choice.engine, _load_config(config, choice.kind, n), {})
            for n in range(number, choice.workers)
        ]
    found = shares(gpus, devices=engine.devices, each=engine.gpus_per_worker, needed=needed, taken=taken)
    return [
        Launch(choice.python, choice.engine, _load_config(config, choice.kind, n), _sees(share))
        for n, share in enumerate(found[: choice.workers - number], number)
    ]


def gpus_of(launch: Launch) -> tuple[str, ...]:
    """UUIDs of the GPUs that a worker sees; none for an engine that needs none."""
    return tuple(filter(None, launch.env.get(VISIBLE, "").split(",")))


def _load_config(config: Config, kind: str, number: int) -> dict[str, Any]:
    engine = config.engine
    shared = {"controls": list(engine.controls), "guardrails": engine.guardrails}
    model = {"model": engine.model} if engine.model else {}
    match kind:
        case "cosmos":
            # Upstream writes into this folder while it loads, so no other worker may use it.
            place = config.paths.state / "cosmos" / str(number)
            own = {"gpus_per_worker": engine.gpus_per_worker, "offload_guardrails": engine.offload_guardrails}
            return shared | model | own | {"output_dir": str(place)}
        case "diffusers":
            return shared | model | {"offline": os.environ.get("HF_HUB_OFFLINE") == "1"}
        case _:
            return {}


def _sees(gpus: Sequence[Gpu]) -> dict[str, str]:
    seen = {VISIBLE: ",".join(gpu.uuid for gpu in gpus)}
    # Without a UUID this is an index, and CUDA counts GPUs as NVML does only if it is told to.
    return seen | {ORDER: "PCI_BUS_ID"} if any(gpu.uuid.isdigit() for gpu in gpus) else seen
