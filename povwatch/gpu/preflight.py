"""Checks that a GPU has room before a worker starts on it. NVML is asked each time; the last look may be stale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.retry import backoff
from povwatch.gpu.headroom import Refusal, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from povwatch.core.clock import Clock
    from povwatch.gpu.monitor import GpuMonitor
    from povwatch.gpu.nvml import Gpus


class Preflight:
    """The check for one worker. A supervisor calls it until it agrees."""

    def __init__(
        self,
        uuids: Sequence[str],
        needed: int,
        *,
        clock: Clock,
        monitor: GpuMonitor,
        ours: Callable[[Gpus], set[int]],
        told: Callable[[Refusal | None, float, bool], None],
    ) -> None:
        self._uuids = tuple(uuids)
        self._needed = needed
        self._clock = clock
        self._monitor = monitor
        self._ours = ours
        self._told = told
        self._looking = self._cleared = False
        self._next = 0.0
        self._about: tuple[object, ...] = ()
        self.refusals = 0
        """Refusals in a row."""
        self.before: frozenset[int] = frozenset()
        """Process ids that were on the GPUs when the check agreed."""

    def __call__(self, now: float) -> bool:
        """Whether a worker may start now. False while NVML's answer is still to come."""
        if not self._uuids or self._cleared:
            self._cleared = False
            return True
        if not self._looking and now >= self._next:
            self._looking = True
            self._monitor.ask(self._seen)
        return False

    def _seen(self, gpus: Gpus) -> None:
        self._looking = False
        no = refusal(gpus, self._uuids, self._needed, self._ours(gpus))
        if no is None:
            if self.refusals:
                self._told(None, self._clock.boot(), True)  # noqa: FBT003 - a callback's
            self._cleared, self.refusals, self._about = True, 0, ()
            mine = (gpu for gpu in gpus.found if gpu.uuid in self._uuids)
            self.before = frozenset(process.pid for gpu in mine for process in gpu.processes)
            return
        self.refusals += 1
        self._next = self._clock.boot() + backoff(self.refusals)
        new, self._about = no.about != self._about, no.about
        self._told(no, self._next, new)
