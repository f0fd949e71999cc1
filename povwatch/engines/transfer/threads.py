"""Reads and writes frames in threads, so that the GPU waits for no file."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from povwatch.engines.control import Frame
    from povwatch.engines.video_writer import VideoWriter

T = TypeVar("T")


@contextmanager
def read_ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """The same items; a thread makes the first one at once, and each next one while the caller uses the current one.

    An exception from making an item is raised in its place.
    """
    end = object()
    with ThreadPoolExecutor(1, "ahead") as thread:
        first: Future[Any] = thread.submit(next, items, end)

        def each() -> Iterator[T]:
            coming = first
            while (item := coming.result()) is not end:
                coming = thread.submit(next, items, end)
                yield item

        yield each()


class Writing:
    """Writes frames in a thread; a context manager. If its block fails, what waits is not written."""

    def __init__(self, writers: list[VideoWriter], limit: int) -> None:
        """`limit`: number of frames that may wait."""
        self._writers = writers
        self._limit = limit
        self._thread = ThreadPoolExecutor(1, "write")
        self._waiting: deque[tuple[int, Future[None]]] = deque()
        """The number of frames, and their writing, in order."""

    def add(self, *panels: list[Frame]) -> None:
        """Have frames written: for each writer the pictures that are side by side. Waits while too many wait.

        Raises:
            Exception: frames that were added before could not be written.
        """
        count = len(panels[0][0])
        while self._waiting and (self._waiting[0][1].done() or count + sum(n for n, _ in self._waiting) > self._limit):
            self._waiting.popleft()[1].result()
        self._waiting.append((count, self._thread.submit(_write, self._writers, panels)))

    def finish(self) -> None:
        """Wait until all frames are written.

        Raises:
            Exception: they could not be.
        """
        while self._waiting:
            self._waiting.popleft()[1].result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)


def _write(writers: list[VideoWriter], panels: tuple[list[Frame], ...]) -> None:
    for writer, frames in zip(writers, panels, strict=True):
        for pictures in zip(*frames, strict=True):
            writer.add(*pictures)
