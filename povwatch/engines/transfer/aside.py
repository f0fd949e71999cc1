"""Work that goes on beside the GPU's: the next chunk is read and the last one written while one is generated."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

T = TypeVar("T")


def ahead(items: Iterator[T]) -> Generator[T]:
    """The same items; one more is made in a thread while the caller works on the one before.

    What the making raises comes out where its item would.
    """
    end = object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        coming: Future[Any] = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item


class Behind:
    """One call at a time, in a thread; a context manager that ends when the last one is done."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "behind")
        self._last: Future[None] | None = None

    def do(self, call: Callable[[T], None], item: T) -> None:
        """Make a call when the one before is done, which this waits for; what that one raised is raised here."""
        self.wait()
        self._last = self._thread.submit(call, item)

    def wait(self) -> None:
        """Wait for the last call; what it raised is raised here."""
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
