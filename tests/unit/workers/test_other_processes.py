"""Whose doing it is that a GPU ran out of memory."""

from __future__ import annotations

from types import SimpleNamespace

from povwatch.core.errors import OutOfMemory
from povwatch.gpu.nvml import Gpu, Gpus, Process
from povwatch.workers.other_processes import OtherProcesses

GONE = 2**22 + 1
"""No process has this number: it is above the kernel's largest."""


def test_gone_worker_is_no_other_process() -> None:
    """A worker that is gone by the time of the look is not blamed as another process."""
    workers, looks, judged = {GONE}, [], []
    neighbours = OtherProcesses(SimpleNamespace(ask=looks.append), lambda: set(workers))
    gpu = Gpu(0, "GPU-0", "H200", 140 * 2**30, 0, processes=(Process(GONE, "python", 30 * 2**30),))
    error = OutOfMemory("There is too little memory.")
    neighbours.judge(SimpleNamespace(gpus=(gpu.uuid,), before=frozenset()), 1, error, judged.append)
    workers.clear()  # another one takes its place
    looks[0](Gpus(found=(gpu,)))
    assert judged == [error]
