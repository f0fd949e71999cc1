"""Other people's processes on our GPUs, and what they excuse."""

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
"""How often a neighbour excuses the same job: one that never leaves must not keep a clip that is too large for what it
leaves at the head of the queue for ever."""


def of_workers(gpus: Gpus, workers: Collection[int]) -> set[int]:
    """The processes on the GPUs that are our workers, or were started by them: each leads a session of its own."""
    found = set()
    for pid in {process.pid for gpu in gpus.found for process in gpu.processes}:
        with suppress(OSError):
            if os.getsid(pid) in workers:
                found.add(pid)
    return found


class OtherProcesses:
    """Judges what ran out of memory."""

    def __init__(self, monitor: GpuMonitor, workers: Callable[[], set[int]]) -> None:
        self._monitor = monitor
        self._workers = workers
        self._excused: Counter[int] = Counter()

    def judge(self, place: Place, job: int, error: OutOfMemory, then: Callable[[PovwatchError], None]) -> None:
        """Look who is on the GPU at this moment, and say what the error is in that light: nobody's, or a neighbour's.

        Args:
            place: where it happened.
            job: that ran out of memory.
            error: as the engine says it.
            then: told in the loop.
        """
        dying = self._workers()  # the worker of this job among them: it is replaced, and may be gone when NVML is asked

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
