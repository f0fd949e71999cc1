"""How the workers of an engine are started: what each is told, and which GPU it sees."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from povwatch.engine.process import Launch

if TYPE_CHECKING:
    from povwatch.config import Config
    from povwatch.engine.choice import Choice
    from povwatch.gpu import Gpu, Gpus

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that hides every other GPU from CUDA."""


def launches(config: Config, choice: Choice, gpus: Gpus) -> list[Launch]:
    """One a worker.

    A worker of a real engine sees its own GPUs alone, those with the most memory first: two workers on one GPU would
    run out of it half way through a load.

    Args:
        config: the configuration.
        choice: what runs.
        gpus: what NVML sees.
    """
    found = sorted(gpus.found, key=lambda gpu: (-gpu.memory, gpu.index))
    each = config.engine.gpus_per_worker
    return [
        Launch(
            python=choice.python,
            engine=choice.engine,
            config=_told(config, choice.kind, number),
            env=_sees(found[number * each : (number + 1) * each]) if choice.kind in {"cosmos", "diffusers"} else {},
        )
        for number in range(choice.workers)
    ]


def gpus_of(launch: Launch) -> tuple[str, ...]:
    """The UUIDs of the GPUs that a worker sees; none for an engine that needs none."""
    return tuple(filter(None, launch.env.get(VISIBLE, "").split(",")))


def _told(config: Config, kind: str, number: int) -> dict[str, Any]:
    engine = config.engine
    shared = {"controls": list(engine.controls), "guardrails": engine.guardrails}
    model = {"model": engine.model} if engine.model else {}
    match kind:
        case "cosmos":
            # Upstream writes into its folder as it loads; it may not be one that anybody else uses.
            place = config.paths.state / "cosmos" / str(number)
            own = {"gpus_per_worker": engine.gpus_per_worker, "offload_guardrails": engine.offload_guardrails}
            return shared | model | own | {"output_dir": str(place)}
        case "diffusers":
            return shared | model | {"offline": os.environ.get("HF_HUB_OFFLINE") == "1"}
        case _:
            return {}


def _sees(gpus: list[Gpu]) -> dict[str, str]:
    return {VISIBLE: ",".join(gpu.uuid for gpu in gpus)} if gpus else {}
