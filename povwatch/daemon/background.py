"""Work that takes longer than the loop may wait: run in threads, its end handled in the loop.

The threads only wait for child processes and disks. They never touch the journal.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

T = TypeVar("T")


class Background:
    """A few threads and the ends of their work."""

    def __init__(
        self, wake: Callable[[], None], *, threads: int, broken: Callable[[Hashable, Exception], None]
    ) -> None:
        """Make it.

        Args:
            wake: called from a thread when its work has ended.
            threads: how many.
            broken: called in the loop with a work's key and an exception that the handling of its end raised.
        """
        self._broken = broken
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="background")
        self._wake = wake
        self._ended: deque[Callable[[], None]] = deque()
        self._cancels: dict[Hashable, threading.Event] = {}

    def submit(
        self, key: Hashable, work: Callable[[threading.Event], T], then: Callable[[T | Exception], None]
    ) -> None:
        """Do `work` in a thread; then call `then` in the loop with its result or its exception.

        Args:
            key: names the work; one at a time under a key.
            work: gets an event that says when it is no longer wanted.
            then: called by `settle`.
        """
        if key in self._cancels:
            raise ValueError(f"{key} is under way already")
        cancelled = self._cancels[key] = threading.Event()

        def run() -> None:
            outcome: Any
            try:
                outcome = work(cancelled)
            except Exception as error:  # noqa: BLE001 - whatever it is, the loop decides about it
                outcome = error
            self._ended.append(lambda: self._end(key, outcome, then))
            self._wake()

        self._pool.submit(run)

    def settle(self) -> None:
        """Handle every end since the last call, in the loop."""
        while self._ended:
            self._ended.popleft()()

    def busy(self, key: Hashable) -> bool:
        """Whether this work is under way, or its end not yet handled."""
        return key in self._cancels

    def cancel(self, key: Hashable) -> None:
        """Say that the work is no longer wanted; it ends as soon as it notices."""
        if key in self._cancels:
            self._cancels[key].set()

    def close(self) -> None:
        """Cancel everything and wait for the threads; no end is handled any more."""
        for cancelled in self._cancels.values():
            cancelled.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._cancels

    def _end(self, key: Hashable, outcome: Any, then: Callable[[Any], None]) -> None:  # noqa: ANN401 - the work's own
        del self._cancels[key]
        try:
            then(outcome)
        except Exception as error:  # noqa: BLE001 - what is done about it is the daemon's to say
            self._broken(key, error)
