"""What a job used of its GPU, added up from looks."""

from __future__ import annotations

import json

import pytest

from povwatch.gpu.nvml import Gpu, Gpus, Process
from povwatch.gpu.usage import GpuUsage

GB = 10**9


def seen(power=None, used=0, *processes: Process, number: int = 0) -> Gpu:
    return Gpu(number, f"GPU-{number}", "NVIDIA X", 140 * GB, (140 - used) * GB, power, processes)


def add(use: GpuUsage, now: float, *found: Gpu, ours=(1,)) -> None:
    use.add(now, Gpus(found), [gpu.uuid for gpu in found] or ["GPU-0"], ours)


def test_power_over_time_is_energy():
    use = GpuUsage()
    for now, power in ((0, 100.0), (10, 300.0), (20, 300.0)):
        add(use, now, seen(power))
    found = use.figures()
    assert (found["energy"], found["mean_power"], found["peak_power"]) == (5000, 250.0, 300.0)
    json.dumps(found)


def test_memory_is_ours_if_nvml_knows():
    """Memory is our worker's where NVML says whose it is."""
    use = GpuUsage()
    add(use, 0, seen(None, 100, Process(1, "worker", 30 * GB), Process(9, "other", 70 * GB)))
    assert use.figures()["peak_memory"] == 30 * GB
    add(use, 1, seen(None, 100, Process(1, "worker", 20 * GB)))
    assert use.figures()["peak_memory"] == 30 * GB


@pytest.mark.parametrize("process", [Process(1, "worker", None), Process(4711, "process 4711", 30 * GB)])
def test_memory_is_all_in_use_if_not(process):
    """Memory is all that is in use where NVML does not say whose it is."""
    use = GpuUsage()
    add(use, 0, seen(None, 100, process))
    assert use.figures()["peak_memory"] == 100 * GB


def test_several_gpus_are_one_figure():
    use = GpuUsage()
    for now in (0, 2):
        add(use, now, seen(100.0, 10), seen(50.0, 20, number=1))
    figures = use.figures()
    assert (figures["name"], figures["uuid"]) == ("NVIDIA X", "GPU-0, GPU-1")
    assert (figures["samples"], figures["peak_memory"]) == (2, 20 * GB)
    assert (figures["peak_power"], figures["mean_power"], figures["energy"]) == (150.0, 150.0, 300)


def test_gap_in_the_power_is_not_filled():
    use = GpuUsage()
    for now, power in ((0, 100.0), (10, None), (1000, 100.0), (1001, 100.0)):
        add(use, now, seen(power))
    assert use.figures()["energy"] == 100


def test_unseen_is_left_out():
    """What nobody saw is left out."""
    use = GpuUsage()
    assert use.figures() == {}
    add(use, 0)
    assert use.figures() == {}
    add(use, 0, Gpu(0, "GPU-0", "NVIDIA X", 0, 0))
    assert use.figures() == {"name": "NVIDIA X", "uuid": "GPU-0", "samples": 1}
