"""Decides how an engine's workers are started: with which configuration, and on which GPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from povwatch.engines.choice import interpreter, memory_needed
from povwatch.engines.devices import shares
from povwatch.engines.text_filters import ENGINES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from povwatch.config.settings import Config
    from povwatch.engines.choice import Choice
    from povwatch.gpu.nvml import Gpu, Gpus


ITS_OWN = "{worker}"
"""In a path of a remote worker's configuration: what no other worker of its machine has, filled in there."""


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
    gpus: tuple[Gpu, ...] = ()
    """The GPUs that the worker sees; none for an engine that needs none."""


def launches(
    config: Config, choice: Choice, gpus: Gpus, *, taken: Collection[str] = (), number: int = 0
) -> list[Launch]:
    """How each further worker is started, up to engine.workers.

    A worker of a real engine sees only its own GPUs: two workers on one GPU would run out of memory during a load.
    There are at most as many such workers as GPUs.

    Args:
        taken: The UUIDs of GPUs that have a worker already.
        number: Workers that are there already.
    """
    engine, needed = config.engine, memory_needed(choice.kind, config.engine)
    if needed is None:
        found: list[tuple[Gpu, ...]] = [()] * ((1 if engine.workers == "auto" else engine.workers) - number)
    else:
        found = shares(gpus, devices=engine.devices, each=engine.gpus_per_worker, needed=needed, taken=taken)
        if engine.workers != "auto":
            found = found[: engine.workers - number]
    return [
        Launch(choice.python, choice.engine, _load_config(config, choice.kind, str(n)), _visible(share), share)
        for n, share in enumerate(found, number)
    ]


def elsewhere(config: Config, choice: Choice) -> Launch:
    """How a worker on another machine is started. Its GPUs, its interpreter and its folders are found there."""
    engine = config.engine.model_copy(update={"gpus_per_worker": config.pool.gpus_per_worker})
    there = config.model_copy(update={"engine": engine})
    return Launch(config.pool.runtime or choice.python, choice.engine, _load_config(there, choice.kind, ITS_OWN), {})


def text_filters(config: Config, kind: str) -> Launch | None:
    """How the worker with an engine's text filters alone is started, on the CPU; None if prompts go unchecked."""
    engine = config.engine
    if kind not in ENGINES or not engine.guardrails or engine.check_prompts == "off":
        return None
    whole = engine.check_prompts == "all"
    threads = str(max(1, (os.cpu_count() or 1) // 4) if whole else 1)
    hidden = {
        "CUDA_VISIBLE_DEVICES": "",
        # Else torch.cuda.is_available, which libraries ask while they are imported, calls cuInit: the driver is
        # entered even where no GPU is to be seen, and may be hanging.
        "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
        "OMP_NUM_THREADS": threads,
        "HF_HUB_OFFLINE": "1",
    }
    return Launch(interpreter(kind, config), ENGINES[kind], {"language_model": whole}, hidden)


def _load_config(config: Config, engine_kind: str, number: str) -> dict[str, Any]:
    """The argument of the engine's `load`. `number` names a folder that no other worker of the machine uses."""
    engine = config.engine
    shared = {"controls": list(engine.controls), "guardrails": engine.guardrails}
    model = {"model": engine.model} if engine.model else {}
    match engine_kind:
        case "cosmos":
            # Upstream writes into this folder while it loads, so no other worker may use it.
            place = config.paths.state / "cosmos" / number
            own = {"gpus_per_worker": engine.gpus_per_worker, "offload_guardrails": engine.offload_guardrails}
            return shared | model | own | {"output_dir": str(place)}
        case "diffusers":
            chosen = {name: getattr(engine, name) for name in ("exact", "compile", "memory", "speed")}
            state = config.paths.state  # what is kept there outlives the worker
            kept = {"compile_cache": str(state / "compiled"), "prompt_cache": str(state / "prompts")}
            offline = os.environ.get("HF_HUB_OFFLINE") == "1"
            if engine.gpus_per_worker > 1:
                chosen["gpus_per_worker"] = engine.gpus_per_worker
                kept["meeting"] = str(state / "ranks" / number)
            return shared | model | chosen | kept | {"offline": offline}
        case _:
            return {}


def _visible(gpus: Sequence[Gpu]) -> dict[str, str]:
    """The variables that hide every other GPU from CUDA."""
    if not gpus:
        return {}
    seen = {"CUDA_VISIBLE_DEVICES": ",".join(gpu.uuid for gpu in gpus)}
    # Without a UUID this is an index, and CUDA counts GPUs as NVML does only if it is told to.
    return seen | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if any(gpu.uuid.isdigit() for gpu in gpus) else seen
