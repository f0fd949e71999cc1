"""Measures a job's use of its GPUs from samples every few seconds. Pure; bytes, watts, joules, seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from povwatch.gpu.nvml import Gpu, Gpus


@dataclass(slots=True)
class GpuUsage:
    """One job's use so far."""

    name: str = ""
    uuids: list[str] = field(default_factory=list)
    samples: int = 0
    peak_memory: int = 0
    """Peak on the GPU that used most. Counts our processes if NVML tells whose memory it is, else all memory in use."""
    peak_power: float | None = None
    """Peak of all the job's GPUs together."""
    energy: float = 0.0
    seconds: float = 0.0
    """Seconds over which the energy was counted."""
    _last: tuple[float, float] | None = None
    """Time and value of the last reading of power."""

    def add(self, now: float, gpus: Gpus, uuids: Sequence[str], ours: Collection[int]) -> None:
        """Add a sample, taken at `now`; `ours` are the worker's process ids."""
        seen = [gpu for gpu in gpus.found if gpu.uuid in uuids]
        if not seen:
            return
        self.samples += 1
        self.name, self.uuids = seen[0].name, [gpu.uuid for gpu in seen]
        self.peak_memory = max(self.peak_memory, *(_memory(gpu, ours) for gpu in seen))
        if any(gpu.power is None for gpu in seen):
            self._last = None
            return
        power = sum(gpu.power or 0.0 for gpu in seen)
        self.peak_power = max(self.peak_power or 0.0, power)
        if self._last is not None:
            since, before = self._last
            self.energy += (now - since) * (before + power) / 2
            self.seconds += now - since
        self._last = now, power

    def figures(self) -> dict[str, Any]:
        """Figures for the journal and the manifest; unknown ones are left out."""
        if not self.samples:
            return {}
        found: dict[str, Any] = {"name": self.name, "uuid": ", ".join(self.uuids), "samples": self.samples}
        if self.peak_memory:
            found["peak_memory"] = self.peak_memory
        if self.peak_power is not None:
            found["peak_power"] = round(self.peak_power, 1)
        if self.seconds:
            found |= {"mean_power": round(self.energy / self.seconds, 1), "energy": round(self.energy)}
        return found


def _memory(gpu: Gpu, ours: Collection[int]) -> int:
    of_ours = [process.memory for process in gpu.processes if process.pid in ours and process.memory is not None]
    return sum(of_ours) if of_ours else max(0, gpu.memory - gpu.free)
