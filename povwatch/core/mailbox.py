"""Objects that the loop and its threads share. They reach no job and no journal, so a thread may hold them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue: threads put things in, the loop takes them out in the same order."""

    def __init__(self, wake: Callable[[], None], most: int | None = None) -> None:
        """Begin empty.

        Args:
            wake: called in the thread after each `put`; wakes the loop.
            most: how many things it holds; beyond that the oldest are dropped.
        """
        self._wake = wake
        self._things: deque[T] = deque(maxlen=most)

    def put(self, thing: T) -> None:
        """Add a thing; from any thread."""
        self._things.append(thing)
        self._wake()

    def take(self) -> Iterator[T]:
        """Take everything out, including what is added meanwhile; from the loop."""
        while self._things:
            yield self._things.popleft()

    def clear(self) -> None:
        """Drop everything."""
        self._things.clear()


class Gauge:
    """Progress of some work, 0 to 1: its thread sets it, the loop reads it."""

    def __init__(self, what: str = "") -> None:
        self.what = what
        """The present part of the work, in words."""
        self.fraction = 0.0

    def begin(self, what: str) -> None:
        """Begin another part of the work."""
        self.what, self.fraction = what, 0.0

    def set(self, fraction: float) -> None:
        """Set the progress, 0 to 1."""
        self.fraction = fraction
