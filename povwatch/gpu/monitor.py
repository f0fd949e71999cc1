"""Looks at the GPUs, each in a thread of its own: what NVML is asked about a lost GPU may never be answered.

The loop never waits for a look but at the start. While one does not come back no other is begun, and whoever asks is
told that NVML is silent.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from povwatch.gpu.nvml import Gpus

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.core.clock import Clock

PATIENCE = 20.0
"""Seconds that a look may take. Where no program keeps the driver awake, it wakes each GPU in seconds."""

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
        # A daemon thread: one that hangs in the driver does not keep the process from ending.
        threading.Thread(target=_run, args=(self, take, wake), name="gpu-look", daemon=True).start()


def _run(look: _Look, take: Callable[[], Gpus], wake: Callable[[], None]) -> None:
    """Called in a thread."""
    try:
        look.seen = take()
    except Exception as error:  # noqa: BLE001 - a look is an answer, whatever happens in the library
        look.seen = Gpus(problem=f"the GPUs cannot be looked at: {error!r}")
    look.over.set()
    wake()


class GpuMonitor:
    """What the daemon knows of the GPUs."""

    def __init__(self, clock: Clock, wake: Callable[[], None], look: Callable[[], Gpus]) -> None:
        """Make it; nothing is looked at yet.

        Args:
            clock: the time.
            wake: called from a thread when a look has come back.
            look: takes one.
        """
        self._clock = clock
        self._wake = wake
        self._take = look
        self._look: _Look | None = None
        self._asked: list[Callable[[Gpus], None]] = []
        self._serving: list[Callable[[Gpus], None]] = []
        """Those who are told by the look under way."""
        self._watchers: list[Callable[[Gpus], None]] = []
        self._next = 0.0
        self.latest = Gpus()
        """As it was at the last look."""

    def first(self) -> Gpus:
        """Look now and wait for it, as long as a look may take; for the start."""
        look = self._look = _Look(self._take, self._wake, self._clock.boot())
        self.latest = look.seen or SILENT if look.over.wait(PATIENCE) else SILENT
        if look.over.is_set():
            self._look = None
        return self.latest

    def watch(self, told: Callable[[Gpus], None]) -> None:
        """Have every look told."""
        self._watchers.append(told)

    def ask(self, then: Callable[[Gpus], None]) -> None:
        """Have one look told that is begun from now on; the answer comes through `tick`."""
        self._asked.append(then)
        self._wake()

    def next_deadline(self) -> float:
        """When `tick` has something to do."""
        if self._look is not None:
            return self._look.begun + PATIENCE
        return 0.0 if self._asked else self._next

    def tick(self, now: float, *, every: float) -> None:
        """Tell what was seen, and look again if it is time.

        Args:
            now: boot clock.
            every: seconds between two looks.
        """
        look = self._look
        if look is not None and look.over.is_set():
            self._look = None
            self._tell(look.seen or SILENT)
        elif look is not None and now - look.begun >= PATIENCE:
            look.begun = now  # it is waited for anew, and whoever asks meanwhile is told as soon
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
