"""Chooses where a control is computed. Pure; memory is in bytes.

The engine's model stays where it is. A GPU is used if it has room for the control beside that model, and beside what
the model takes while it generates, for it may begin at any moment. Otherwise the CPU computes, which takes much longer
and disturbs nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core.units import spell_size
from povwatch.engines.devices import asked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.gpu.nvml import Gpus

NEEDED = {"depth": 3_000_000_000, "seg": 8_000_000_000}
"""Bytes of GPU memory for a control, with CUDA's own: estimates. benchmarks/annotate.py measures what is taken."""

CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Device:
    """Where a control is computed."""

    name: str
    """The GPU's name, or CPU."""
    uuid: str = ""
    memory: int = 0
    """Bytes of GPU memory that may be taken."""
    why: str = ""
    """Why no GPU is used although there are some, as a sentence."""


def choose(kind: str, gpus: Gpus, devices: Sequence[int | str], reserved: int) -> Device:
    """The GPU with most room, or the CPU.

    Args:
        kind: the control's hint key.
        gpus: as NVML sees them.
        devices: engine.devices.
        reserved: bytes that have to stay free on each GPU for the engine.
    """
    best = max(asked(gpus, devices), key=lambda gpu: gpu.free, default=None)
    if best is None or gpus.lost or gpus.upgraded or gpus.silent:
        return Device(CPU)
    room = best.free - reserved
    if room < NEEDED[kind]:
        why = (
            f"{kind} was computed on the CPU: {best.name} has {spell_size(best.free)} free. {spell_size(reserved)} of "
            f"it are for the engine while it generates, and {kind} needs {spell_size(NEEDED[kind])}."
        )
        return Device(CPU, why=why)
    return Device(best.name, best.uuid, min(room, 2 * NEEDED[kind]))
