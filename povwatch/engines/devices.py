"""Assigns GPUs to an engine's workers. Pure; memory is in bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.units import spell_size

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from povwatch.gpu.nvml import Gpu, Gpus


FP8_CAPABILITY = (8, 9)
"""CUDA's compute capability of the first GPUs that multiply in FP8: Ada."""


def shares(
    gpus: Gpus,
    *,
    devices: Sequence[int | str],
    each: int,
    needed: int,
    taken: Collection[str] = (),
) -> list[tuple[Gpu, ...]]:
    """The GPUs of each possible worker; no GPU has two workers.

    Args:
        devices: engine.devices: only these, in this order. If empty, all GPUs, those with most memory first.
        each: GPUs a worker.
        needed: memory that a GPU must have in total; with less, no worker can ever load.
        taken: the UUIDs of GPUs that have a worker already.
    """
    free = [gpu for gpu in asked(gpus, devices) if gpu.uuid not in taken and not 0 < gpu.memory < needed]
    return [tuple(free[at : at + each]) for at in range(0, len(free) - each + 1, each)]


def strangers(gpus: Gpus, devices: Sequence[int | str]) -> list[str]:
    """Entries of engine.devices that NVML does not see, for people."""
    return [str(device) for device in devices if not any(_is(gpu, device) for gpu in gpus.found)]


def no_share(gpus: Gpus, *, devices: Sequence[int | str], each: int, needed: int) -> str:
    """Why not even one worker could load, as a part of a sentence; empty if one could."""
    if not gpus.found:
        return gpus.problem
    if shares(gpus, devices=devices, each=each, needed=needed):
        return ""
    able = list(asked(gpus, devices))
    if not able:
        there = ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in gpus.found)
        return f"engine.devices names {', '.join(strangers(gpus, devices))}, and the GPUs here are {there}"
    largest = max(able, key=lambda gpu: gpu.memory)
    if 0 < largest.memory < needed:
        where = "the largest GPU of engine.devices" if devices else "the largest GPU here"
        need = spell_size(needed)
        return f"it needs {need} of GPU memory, and {where} ({largest.name}) has {spell_size(largest.memory)}"
    return f"engine.gpus_per_worker = {each}, and there are not so many GPUs that are large enough"


def asked(gpus: Gpus, devices: Sequence[int | str]) -> Iterator[Gpu]:
    """The GPUs that may be used, each once, in the order of use."""
    if not devices:
        yield from sorted(gpus.found, key=lambda gpu: (-gpu.memory, gpu.index))
        return
    found = (gpu for device in devices for gpu in gpus.found if _is(gpu, device))
    yield from dict.fromkeys(found)


def _is(gpu: Gpu, device: int | str) -> bool:
    return gpu.index == device if isinstance(device, int) else gpu.uuid == device
