"""Finds other programs' processes on our GPUs, and decides which errors they excuse."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from povwatch.core.errors import GpuBusy, OutOfMemory, PovwatchError
from povwatch.core.sentences import joined
from povwatch.gpu.headroom import named, neighbours

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from povwatch.gpu.monitor import GpuMonitor
    from povwatch.gpu.nvml import Gpus
    from povwatch.workers.places import Place

EXCUSED_MAX = 3
"""How often a neighbour excuses the same job. A neighbour that never leaves must not keep a clip that needs more memory
at the head of the queue for ever."""


def of_workers(gpus: Gpus, workers: Collection[int]) -> set[int]:
    """Processes on the GPUs that are our workers or their descendants. Each worker leads a session of its own."""
    found = set()
    for pid in {process.pid for gpu in gpus.found for process in gpu.processes}:
        with suppress(OSError):
            if os.getsid(pid) in workers:
                found.add(pid)
    return found


class OtherProcesses:
    """Judges errors of jobs that ran out of memory."""

    def __init__(self, monitor: GpuMonitor, workers: Callable[[], set[int]]) -> None:
        self._monitor = monitor
        self._workers = workers
        self._excused: Counter[int] = Counter()

    def judge(self, place: Place, job: int, error: OutOfMemory, then: Callable[[PovwatchError], None]) -> None:
        """Look at the GPU now, and blame the error on a neighbour if one is there.

        Args:
            job: id of the job that ran out of memory.
            error: the engine's error.
            then: called in the loop with the verdict.
        """
        dying = self._workers()  # includes this job's worker, which is replaced and may be gone when NVML answers

        def seen(gpus: Gpus) -> None:
            ours = of_workers(gpus, self._workers()) | dying
            mine = [gpu for gpu in gpus.found if gpu.uuid in place.gpus]
            others = [process for gpu in mine for process in neighbours(gpu, ours, place.before)]
            if not others or self._excused[job] >= EXCUSED_MAX:
                then(error)
                return
            self._excused[job] += 1
            what = joined(error.what, f"Meanwhile the GPU is used by {named(others)} too.")
            then(GpuBusy(what, "It is tried again by itself; it costs no attempt."))

        self._monitor.ask(seen)
