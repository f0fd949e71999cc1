"""Runs work beside the GPU's: while one chunk is generated, the next is read and the last is written."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T]:
    """The same items; a thread makes the next one while the caller uses the current one.

    An exception from making an item is raised in its place.
    """
    end = object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming: Future[Any] = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item


class Behind:
    """Runs one call at a time in a thread. The context manager ends when the last call is done."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "behind")
        self._last: Future[None] | None = None

    def do(self, call: Callable[[T], None], item: T) -> None:
        """Wait for the call before, raise its exception if any, and start a call."""
        self.wait()
        self._last = self._thread.submit(call, item)

    def wait(self) -> None:
        """Wait for the last call, and raise its exception if any."""
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.wait()
        finally:
            self._thread.shutdown()
