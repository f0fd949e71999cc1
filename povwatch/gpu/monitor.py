"""Asks NVML about the GPUs. Each look runs in a thread, since NVML may never answer about a lost GPU.

The loop waits for a look only at the start. While a look is under way, no other one starts, and callers are told that
NVML is silent.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from povwatch.gpu.nvml import Gpus

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.core.clock import Clock

PATIENCE = 20.0
"""Seconds that a look may take. If no program keeps the driver awake, NVML wakes each GPU, which takes seconds."""

SILENT = Gpus(
    problem="NVML does not answer, so the NVIDIA driver hangs: see journalctl -k; a reboot helps",
    lost=True,
    silent=True,
)


class _Look:
    """One look under way."""

    def __init__(self, take: Callable[[], Gpus], wake: Callable[[], None], now: float) -> None:
        self.begun = now
        self.seen: Gpus | None = None
        self.over = threading.Event()
        # A daemon thread, so that a thread that hangs in the driver does not keep the process from ending.
        threading.Thread(target=_run, args=(self, take, wake), name="gpu-look", daemon=True).start()


def _run(look: _Look, take: Callable[[], Gpus], wake: Callable[[], None]) -> None:
    """Runs in a thread."""
    try:
        look.seen = take()
    except Exception as error:  # noqa: BLE001 - a look is an answer, whatever happens in the library
        look.seen = Gpus(problem=f"the GPUs cannot be looked at: {error!r}")
    look.over.set()
    wake()


class GpuMonitor:
    """The daemon's view of the GPUs."""

    def __init__(self, clock: Clock, wake: Callable[[], None], look: Callable[[], Gpus]) -> None:
        """`wake` is called from a thread when a look has returned."""
        self._clock = clock
        self._wake = wake
        self._take = look
        self._look: _Look | None = None
        self._asked: list[Callable[[Gpus], None]] = []
        self._serving: list[Callable[[Gpus], None]] = []
        """Callbacks that get the result of the look under way."""
        self._watchers: list[Callable[[Gpus], None]] = []
        self._next = 0.0
        self.latest = Gpus()
        """Result of the last look."""

    def first(self) -> Gpus:
        """Look now and wait for the result, PATIENCE at most. For the start."""
        look = self._look = _Look(self._take, self._wake, self._clock.boot())
        self.latest = look.seen or SILENT if look.over.wait(PATIENCE) else SILENT
        if look.over.is_set():
            self._look = None
        return self.latest

    def watch(self, told: Callable[[Gpus], None]) -> None:
        """Register a callback that gets every look."""
        self._watchers.append(told)

    def ask(self, then: Callable[[Gpus], None]) -> None:
        """Pass the next look that begins to `then`; `tick` calls it."""
        self._asked.append(then)
        self._wake()

    def next_deadline(self) -> float:
        """Time on the boot clock at which `tick` has something to do."""
        if self._look is not None:
            return self._look.begun + PATIENCE
        return 0.0 if self._asked else self._next

    def tick(self, now: float, *, every: float) -> None:
        """Pass on what was seen, and start another look if it is due.

        Args:
            now: seconds on the boot clock.
            every: seconds between two looks.
        """
        look = self._look
        if look is not None and look.over.is_set():
            self._look = None
            self._tell(look.seen or SILENT)
        elif look is not None and now - look.begun >= PATIENCE:
            look.begun = now  # the wait starts anew; callers that ask meanwhile are told at once
            self._serving += self._asked
            self._asked = []
            self._tell(SILENT)
        if self._look is None and (self._asked or now >= self._next):
            self._next = now + every
            self._serving, self._asked = self._asked, []
            self._look = _Look(self._take, self._wake, now)

    def _tell(self, seen: Gpus) -> None:
        self.latest = seen
        serving, self._serving = self._serving, []
        for told in (*self._watchers, *serving):
            told(seen)
