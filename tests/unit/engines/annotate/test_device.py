"""Where a control is computed: on a GPU with room beside the engine, else on the CPU."""

from __future__ import annotations

import pytest

from povwatch.engines.annotate.device import CPU, NEEDED, choose
from povwatch.gpu.nvml import Gpu, Gpus

GB = 10**9

RESERVED = 12 * GB


def gpu(index, free, memory=141):
    return Gpu(index, f"GPU-{index}", f"NVIDIA {index}", memory * GB, free * GB)


def test_gpu_with_most_room():
    """Of the engine's GPUs the one with most room is taken, and no more of it than is free for a control."""
    gpus = Gpus((gpu(0, 40), gpu(1, 60), gpu(2, 90)))
    found = choose("seg", gpus, [0, 1], RESERVED)
    assert (found.name, found.uuid, found.memory, found.why) == ("NVIDIA 1", "GPU-1", 2 * NEEDED["seg"], "")
    assert choose("seg", gpus, [], RESERVED).uuid == "GPU-2"
    assert choose("depth", Gpus((gpu(0, 16),)), [], RESERVED).memory == 4 * GB


def test_room_is_the_engines_first():
    """What the engine takes while it generates stays free: then the CPU computes, and the log says why."""
    found = choose("seg", Gpus((gpu(0, 14, 48),)), [], RESERVED)
    assert (found.name, found.uuid) == (CPU, "")
    assert found.why == (
        "seg was computed on the CPU: NVIDIA 0 has 14 GB free. 12 GB of it are for the engine while it generates, "
        "and seg needs 8.0 GB."
    )


@pytest.mark.parametrize(
    "gpus", [Gpus(problem="none"), Gpus((gpu(0, 90),), lost=True), Gpus((gpu(0, 90),), silent=True)]
)
def test_no_gpu_that_answers(gpus):
    """Without a GPU, or beside one that is lost, the CPU computes without a word."""
    assert choose("depth", gpus, [], RESERVED) == choose("depth", Gpus(), [], 0)
    assert choose("depth", gpus, [], RESERVED).name == CPU
