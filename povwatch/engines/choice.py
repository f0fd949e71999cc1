"""Chooses the engine once, at the start, by what this machine can really run.

`auto` takes cosmos, then diffusers, then preview. It never steps down: once a real engine has run on this journal, a
machine that can no longer run it takes clips in and waits, instead of making previews.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core.cosmos import HEADS
from povwatch.core.units import spell_size
from povwatch.engines.devices import no_share, shares
from povwatch.engines.libraries import LOCKED, TORCH
from povwatch.engines.transfer import memory
from povwatch.models.missing import missing_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.config.settings import Config, Engine
    from povwatch.gpu.nvml import Gpus

COSMOS_MEMORY = 65_400_000_000
"""Bytes of GPU memory that the cosmos engine needs; upstream's own figure."""

ENGINES = {
    "cosmos": "povwatch.engines.cosmos:CosmosEngine",
    "diffusers": "povwatch.engines.diffusers:DiffusersEngine",
    "preview": "povwatch.engines.preview:PreviewEngine",
}
"""Kind to the engine's class, in the form that a worker gets."""

PROBE_SECONDS = 60.0
"""Seconds for an interpreter to tell whether it has upstream's package; a cold disk is slow."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that runs, and why."""

    kind: str
    engine: str
    """The engine's class, in the form that a worker gets: module:Class or file:Class."""
    python: str
    why: str
    """One or two sentences."""
    problem: str = ""
    """Why the engine cannot run now; empty if it can."""
    workers: int = 1


def choose(config: Config, gpus: Gpus, real_before: str | None) -> Choice:
    """Choose the engine.

    Args:
        real_before: kind of the real engine that last ran on this journal; None if none did.
    """
    kind = config.engine.kind
    if ":" in kind:
        return _make(config, gpus, kind, f"engine.kind names it: {kind}.")
    if kind != "auto":
        return _make(config, gpus, kind, f"engine.kind asks for {kind}.")
    reasons: dict[str, str] = {}
    for candidate in ("cosmos", "diffusers"):
        problem = _PROBES[candidate](config, gpus)
        if not problem:
            return _make(config, gpus, candidate, f"It was chosen because this machine can run it.{_not(reasons)}")
        reasons[candidate] = problem
    if real_before is not None:
        why = f"The {real_before} engine has run on this journal, and previews do not take its place."
        return _make(config, gpus, real_before, why, problem=reasons.get(real_before))
    why = f"It shows the control video, not a generated one.{_not(reasons)}"
    return _make(config, gpus, "preview", why)


def memory_needed(kind: str, engine: Engine) -> int | None:
    """Bytes that an engine needs on each of its GPUs; None if it needs no GPU."""
    match kind:
        case "cosmos":
            return COSMOS_MEMORY
        case "diffusers":
            return memory.needed(engine.memory)
        case _:
            return None


def unable(kind: str, config: Config, gpus: Gpus) -> str:
    """Why this machine cannot run an engine; empty if it can."""
    probe = _PROBES.get(kind)
    return probe(config, gpus) if probe else ""


def workers(kind: str, config: Config, gpus: Gpus) -> int:
    """Number of workers of an engine: the configured number, or one for each GPU that has room.

    An engine that needs a GPU gets at most as many workers as there are GPUs: two on one GPU would run out of its
    memory.
    """
    wanted, needed = config.engine.workers, memory_needed(kind, config.engine)
    if needed is None or wanted == 0:
        return 1 if wanted == "auto" else wanted
    possible = len(shares(gpus, devices=config.engine.devices, each=config.engine.gpus_per_worker, needed=needed))
    return max(1, possible if wanted == "auto" else min(wanted, possible))


def _make(config: Config, gpus: Gpus, kind: str, why: str, *, problem: str | None = None) -> Choice:
    if problem is None:
        problem = "" if config.engine.workers == 0 else unable(kind, config, gpus)  # other machines run it
    if config.engine.speed != "exact" and kind in {"cosmos", "preview"}:
        why += f' engine.speed = "{config.engine.speed}" has no effect on it.'
    return Choice(kind, ENGINES.get(kind, kind), interpreter(kind, config), why, problem, workers(kind, config, gpus))


def interpreter(kind: str, config: Config) -> str:
    """The interpreter of an engine's environment."""
    return str(config.engine.python) if kind == "cosmos" else sys.executable


def _not(reasons: dict[str, str]) -> str:
    return "".join(f" {kind.capitalize()} cannot: {problem}." for kind, problem in reasons.items())


def _cosmos(config: Config, gpus: Gpus) -> str:
    if problem := _gpu_problem("cosmos", config, gpus):
        return problem
    python = config.engine.python
    if not os.access(python, os.X_OK):
        return f"engine.python ({python}) is not there; script/cosmos prepares it"
    code = "import importlib.util as u, sys; sys.exit(u.find_spec('cosmos_transfer2') is None)"
    try:
        done = subprocess.run([python, "-c", code], check=False, timeout=PROBE_SECONDS, capture_output=True)  # noqa: S603 - configured
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"engine.python ({python}) does not run: {error}"
    if done.returncode:
        return f"engine.python ({python}) has no cosmos_transfer2; script/cosmos prepares it"
    return missing_files("cosmos", config)


def _diffusers(config: Config, gpus: Gpus) -> str:
    if problem := _gpu_problem("diffusers", config, gpus) or _undivided(config):
        return problem
    guards = ("cosmos_guardrail",) if config.engine.guardrails else ()
    for package in ("torch", "diffusers", "transformers", *guards):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed: {install(package)}"
    return missing_files("diffusers", config)


def _undivided(config: Config) -> str:
    """Why the diffusers engine does not divide its steps among so many GPUs; empty if it does."""
    engine = config.engine
    asked = f"engine.gpus_per_worker = {engine.gpus_per_worker}"
    if engine.gpus_per_worker > 1 and engine.exact == "pipeline":
        return f'{asked}, and steps with engine.exact = "pipeline" are computed on one GPU'
    if not engine.model and HEADS % engine.gpus_per_worker:
        return f"{asked}, and the model's {HEADS} heads cannot be divided by that: 1, 2, 4, 8 and 16 divide them"
    return ""


def install(package: str) -> str:
    """The command that installs a library of the diffusers engine."""
    return TORCH if package in {"torch", "torchvision"} else LOCKED


def _gpu_problem(kind: str, config: Config, gpus: Gpus) -> str:
    engine = config.engine
    needed = memory_needed(kind, engine) or 0
    problem = no_share(gpus, devices=engine.devices, each=engine.gpus_per_worker, needed=needed)
    low, less = memory.NEEDED["low"], kind == "diffusers" and engine.memory == "full"
    if problem and less and not no_share(gpus, devices=engine.devices, each=engine.gpus_per_worker, needed=low):
        problem += f'; with engine.memory = "low" it needs {spell_size(low)}'
    return problem


_PROBES: dict[str, Callable[[Config, Gpus], str]] = {"cosmos": _cosmos, "diffusers": _diffusers}
