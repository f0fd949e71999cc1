"""Lets the loop sleep and be woken, through an eventfd that threads and signal handlers may both write to."""

from __future__ import annotations

import os
import select
import threading


class Waker:
    """Sleeps until the time is up or somebody calls `wake`."""

    def __init__(self) -> None:
        self._open = threading.RLock()  # a signal handler may come while it is held
        self._fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def wake(self) -> None:
        """End the present sleep, or else the next one."""
        with self._open:
            if self._fd >= 0:
                os.eventfd_write(self._fd, 1)

    def sleep(self, seconds: float) -> None:
        """Wait for at most so many seconds."""
        if self._poll.poll(max(0.0, seconds) * 1000):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        """Close the descriptor; later calls of `wake` do nothing."""
        with self._open:
            fd, self._fd = self._fd, -1
            os.close(fd)
