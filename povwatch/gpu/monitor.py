"""Asks NVML about the GPUs. Each query runs in a thread, since NVML may never answer about a lost GPU.

The loop waits for a query only at the start. While a query is under way, no other one starts, and callers are told that
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
"""Seconds that a query may take. If no program keeps the driver awake, NVML wakes each GPU, which takes seconds."""

SILENT = Gpus(
    problem="NVML does not answer, so the NVIDIA driver hangs: see journalctl -k; a reboot helps",
    lost=True,
    silent=True,
)


class _Query:
    """A query under way."""

    def __init__(self, read: Callable[[], Gpus], wake: Callable[[], None], now: float) -> None:
        self.begun = now
        self.answer = SILENT
        self.over = threading.Event()
        # A daemon thread, so that a thread that hangs in the driver does not keep the process from ending.
        threading.Thread(target=_run, args=(self, read, wake), name="gpu-query", daemon=True).start()


def _run(query: _Query, read: Callable[[], Gpus], wake: Callable[[], None]) -> None:
    """Runs in a thread."""
    try:
        query.answer = read()
    except Exception as error:  # noqa: BLE001 - an answer, whatever happens in the library
        query.answer = Gpus(problem=f"the GPUs cannot be looked at: {error!r}")
    query.over.set()
    wake()


class GpuMonitor:
    """The daemon's view of the GPUs."""

    def __init__(self, clock: Clock, wake: Callable[[], None], read: Callable[[], Gpus]) -> None:
        """`wake` is called from a thread when NVML has answered. `read` asks it."""
        self._clock = clock
        self._wake = wake
        self._read = read
        self._query: _Query | None = None
        self._asked: list[Callable[[Gpus], None]] = []
        """Callbacks that get the next answer."""
        self._serving: list[Callable[[Gpus], None]] = []
        """Callbacks that get the answer to the query under way."""
        self._watchers: list[Callable[[Gpus], None]] = []
        self._next = 0.0
        self.latest = Gpus()
        """The last answer."""

    def first(self) -> Gpus:
        """Ask now and wait for the answer, PATIENCE at most. For the start."""
        query = self._query = _Query(self._read, self._wake, self._clock.boot())
        if query.over.wait(PATIENCE):
            self._query = None
        self.latest = query.answer
        return self.latest

    def watch(self, then: Callable[[Gpus], None]) -> None:
        """Register a callback that gets every answer."""
        self._watchers.append(then)

    def ask(self, then: Callable[[Gpus], None]) -> None:
        """Ask again soon, and have `tick` call `then` with that answer."""
        self._asked.append(then)
        self._wake()

    def query_soon(self) -> None:
        """Ask again soon, for those who `watch`."""
        self._next = 0.0
        self._wake()

    def next_deadline(self) -> float:
        """Time on the boot clock at which `tick` has something to do."""
        if self._query is not None:
            return self._query.begun + PATIENCE
        return 0.0 if self._asked else self._next

    def tick(self, now: float, *, every: float) -> None:
        """Pass on an answer, and ask again if it is time.

        Args:
            now: seconds on the boot clock.
            every: seconds between two queries.
        """
        query = self._query
        if query is not None and query.over.is_set():
            self._query = None
            self._pass_on(query.answer)
        elif query is not None and now - query.begun >= PATIENCE:
            query.begun = now  # the wait starts anew; callers that ask meanwhile are told at once
            self._serving += self._asked
            self._asked = []
            self._pass_on(SILENT)
        if self._query is None and (self._asked or now >= self._next):
            self._next = now + every
            self._serving, self._asked = self._asked, []
            self._query = _Query(self._read, self._wake, now)

    def _pass_on(self, gpus: Gpus) -> None:
        self.latest = gpus
        serving, self._serving = self._serving, []
        for then in (*self._watchers, *serving):
            then(gpus)
