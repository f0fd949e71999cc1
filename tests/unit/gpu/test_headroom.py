"""Whether there is room on a GPU and in the host, and who is in the way."""

from __future__ import annotations

import pytest

from povwatch.gpu.headroom import crowded, describe_processes, neighbours, refusal
from povwatch.gpu.nvml import Gpu, Gpus, Process

GB = 10**9
NEED = 65 * GB


def gpus(*found: Gpu, **other) -> Gpus:
    return Gpus(found, **other)


def gpu(free: int = 140, *processes: Process, memory: int = 140, number: int = 0) -> Gpu:
    return Gpu(number, f"GPU-{number}", "NVIDIA X", memory * GB, free * GB, None, processes)


def ask(seen: Gpus, *uuids: str, ours=()):
    return refusal(seen, uuids or ("GPU-0",), NEED, ours)


def test_room_whoever_else_is_there():
    """Room enough is room enough, whoever else is there."""
    assert ask(gpus(gpu(65, Process(7, "train", 75 * GB)))) is None


def test_holders_are_named_largest_first():
    no = ask(gpus(gpu(20, Process(7, "python", 40 * GB), Process(8, "train", 80 * GB), Process(9, "x", None))))
    assert no.failure_kind == "gpu-busy"
    assert no.problem == (
        "No room on NVIDIA X: 20 GB of 140 GB are free, and the engine needs 65 GB; "
        "it is used by train (pid 8, 80 GB), python (pid 7, 40 GB) and x (pid 9)."
    )


def test_own_workers_are_not_in_the_way():
    no = ask(gpus(gpu(20, Process(7, "python", 120 * GB))), ours={7})
    assert no.failure_kind == "gpu-busy"
    assert "NVML does not say who holds the rest" in no.problem


def test_every_gpu_of_the_worker_needs_room():
    """Every GPU of the worker needs room, and no other does."""
    full = gpu(1, number=1)
    assert ask(gpus(gpu(), full)) is None
    assert ask(gpus(gpu(), full), "GPU-0", "GPU-1").about[:2] == ("busy", "GPU-1")


def test_unknown_memory_is_no_refusal():
    assert ask(gpus(Gpu(0, "GPU-0", "NVIDIA X", 0, 0))) is None


def test_too_small_gpu_is_told():
    no = ask(gpus(gpu(24, memory=24)))
    assert (no.failure_kind, no.problem) == ("error", "NVIDIA X has 24 GB, and the engine needs 65 GB.")


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (gpus(gpu(number=1), problem="a GPU has fallen off the bus: reboot", lost=True), "A GPU has fallen off"),
        (gpus(gpu(number=1)), "The GPU is not there any more. (GPU-0)"),
        (gpus(problem="the driver was upgraded: reboot", lost=True, upgraded=True), "The driver was upgraded: reboot."),
        (gpus(gpu(), problem="NVML does not answer", lost=True, silent=True), "NVML does not answer."),
    ],
)
def test_missing_gpu_is_lost(seen, words):
    """A GPU that is gone, or whose driver is, is lost, with its reason."""
    no = ask(seen)
    assert no.failure_kind == "gpu-lost"
    assert no.problem.startswith(words) or words.replace(".", "") in no.problem.replace(".", "")


def test_refusals_are_alike_by_their_cause():
    """Refusals with the same cause are about the same, whatever the figures."""
    one, two = (ask(gpus(gpu(free, Process(7, "train", 90 * GB)))) for free in (20, 30))
    other = ask(gpus(gpu(20, Process(8, "train", 90 * GB))))
    assert one.problem != two.problem
    assert one.about == two.about != other.about


@pytest.mark.parametrize(
    ("process", "before", "counts"),
    [
        (Process(7, "train", 80 * GB), (), True),
        (Process(7, "train", None), (), True),
        (Process(7, "idle", GB // 2), (), False),
        (Process(7, "process 7", 80 * GB, visible=False), (), False),
        (Process(7, "process 7", 80 * GB, visible=False), (7,), True),
        (Process(1, "python", 80 * GB), (), False),
    ],
)
def test_other_processes_beside_a_worker(process, before, counts):
    """Beside our worker, a process counts if it holds memory and is visible, or was there before."""
    assert neighbours(gpu(10, process), {1}, before) == ([process] if counts else [])


def test_nobody_has_no_name():
    assert describe_processes([]) == ""
    assert describe_processes([Process(7, "train", 80 * GB)]) == "train (pid 7, 80 GB)"


@pytest.mark.parametrize(
    ("under_way", "needs", "available", "waits"),
    [
        (0, 36, 1, False),  # the first one is never kept waiting
        (1, 36, 71, True),
        (1, 36, 72, False),
        (3, 36, 143, True),
        (3, 36, 144, False),
        (1, 36, None, True),  # nobody knows: one after the other
        (7, 0, 0, False),  # an engine without weights
    ],
)
def test_host_holds_another_load(under_way, needs, available, waits):
    """A load begins while the host holds it and those under way."""
    found = crowded(under_way, needs * GB, None if available is None else available * GB)
    assert bool(found) is waits
    if waits:
        assert "a load may take 36 GB" in found
