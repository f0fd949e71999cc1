"""Waits for a lock that a thread may hold for as long as a media child works, and stops when its work is called off."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from povwatch.media.errors import MediaStopped

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

CANCELLED_CHECK = 0.2
"""Seconds between two checks whether the work is still wanted."""


@contextmanager
def held(lock: threading.Lock, cancelled: threading.Event, what: str) -> Iterator[None]:
    """Hold a lock.

    Args:
        cancelled: set when the work that waits is no longer wanted.
        what: it, for people: "The copies".

    Raises:
        MediaStopped: `cancelled` was set before the lock was free.
    """
    while not lock.acquire(timeout=CANCELLED_CHECK):
        if cancelled.is_set():
            raise MediaStopped(f"{what} were called off.")
    try:
        yield
    finally:
        lock.release()
