"""What the loop and its threads hand each other. Nothing here reaches a job or the journal, so a thread may hold it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Things that threads put in and the loop takes out, in that order."""

    def __init__(self, wake: Callable[[], None], most: int | None = None) -> None:
        """An empty one.

        Args:
            wake: called in the thread after each `put`; wakes the loop.
            most: how many things it holds; of more, the oldest are forgotten.
        """
        self._wake = wake
        self._things: deque[T] = deque(maxlen=most)

    def put(self, thing: T) -> None:
        """Called in any thread."""
        self._things.append(thing)
        self._wake()

    def take(self) -> Iterator[T]:
        """Called in the loop: everything that is there, also what comes meanwhile."""
        while self._things:
            yield self._things.popleft()

    def clear(self) -> None:
        """Forget what is there."""
        self._things.clear()


class Gauge:
    """How far some work is, 0 to 1: set by its thread, read by the loop."""

    def __init__(self) -> None:
        self.fraction = 0.0

    def set(self, fraction: float) -> None:
        """The work is so far."""
        self.fraction = fraction
