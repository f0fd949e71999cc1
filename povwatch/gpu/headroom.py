"""Tells whether there is memory for an engine, and which processes are in the way. Pure; memory is in bytes.

A load needs memory of the GPUs and, while it lasts, of the host:

1. It passes through the host's memory. It counts with the size of all its weights, though these move on to the GPU part
   by part. How much the running loads have taken already is unknown, so that part is counted twice.
2. The first load never waits. If it has too little memory, it fails and says so itself.
3. A further load begins while there is memory for it and for all running loads; else when one of those is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core.units import spell_size

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from povwatch.gpu.nvml import Gpu, Gpus, Process

COUNTS = 1_000_000_000
"""Bytes of GPU memory from which a process counts as a neighbour: an idle CUDA context takes half of that."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why no worker can be started."""

    failure_kind: str
    """See port.FailureKind."""
    problem: str
    """One or more sentences."""
    about: tuple[object, ...]
    """Identifies the refusal. One with equal `about` is not news, even if its figures differ."""


def refusal(gpus: Gpus, uuids: Sequence[str], needed: int, ours: Collection[int]) -> Refusal | None:
    """Why an engine cannot be loaded now; None if it can, or if NVML does not know.

    Args:
        needed: bytes that the engine needs on each of the `uuids`.
        ours: our own process ids, which are no neighbours.
    """
    if gpus.upgraded or gpus.silent:
        return Refusal("gpu-lost", f"{_sentence(gpus.problem)}.", ("driver",))
    for uuid in uuids:
        found = next((gpu for gpu in gpus.found if gpu.uuid == uuid), None)
        if found is None:
            problem = gpus.problem or "the GPU is not there any more"
            return Refusal("gpu-lost", f"{_sentence(problem)} ({uuid}).", ("lost", uuid))
        if 0 < found.memory < needed:
            what = f"{found.name} has {spell_size(found.memory)}, and the engine needs {spell_size(needed)}."
            return Refusal("error", what, ("small", uuid))
        if found.memory and found.free < needed:
            return _busy(found, needed, ours)
    return None


def crowded(under_way: int, needs: int, available: int | None) -> str:
    """Why another load has to wait for the host's memory, as a sentence; empty if it need not.

    Args:
        under_way: loads that are not done.
        needs: memory of the host that a load may take; 0 if negligible.
        available: free memory of the host. None if unknown: then the workers load one after the other.
    """
    if not under_way or not needs or (available is not None and available >= needs * (under_way + 1)):
        return ""
    others = "another worker loads" if under_way == 1 else f"{under_way} other workers load"
    there = f"{spell_size(available)} of the host's memory are" if available is not None else "nobody knows how much is"
    return f"It loads later: {others}, a load may take {spell_size(needs)}, and {there} free."


def describe_processes(processes: Sequence[Process]) -> str:
    """Processes with their names, numbers and memory: "python (pid 17, 80 GB)"."""
    shown = [
        f"{p.name} (pid {p.pid}{', ' + spell_size(p.memory) if p.memory else ''})"
        for p in sorted(processes, key=lambda p: -(p.memory or 0))
    ]
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]])) if shown else ""


def neighbours(gpu: Gpu, ours: Collection[int], before: Collection[int]) -> list[Process]:
    """Other processes that hold memory of a GPU while our worker is on it.

    Args:
        ours: process ids that are known to be ours.
        before: process ids that were there before our worker. A container's NVML may list our worker under a number
            that is unknown here, so a process that we cannot see counts only if it is one of these.
    """
    return [
        process
        for process in gpu.processes
        if process.pid not in ours
        and (process.visible or process.pid in before)
        and (process.memory is None or process.memory >= COUNTS)
    ]


def _busy(gpu: Gpu, needed: int, ours: Collection[int]) -> Refusal:
    others = [process for process in gpu.processes if process.pid not in ours]
    room = f"{spell_size(gpu.free)} of {spell_size(gpu.memory)} are free, and the engine needs {spell_size(needed)}"
    who = f"it is used by {describe_processes(others)}" if others else "NVML does not say who holds the rest"
    about = ("busy", gpu.uuid, *sorted(process.pid for process in others))
    return Refusal("gpu-busy", f"No room on {gpu.name}: {room}; {who}.", about)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
