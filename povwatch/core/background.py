"""Runs work in threads that takes longer than the loop may wait, and handles its result in the loop.

The threads wait for child processes and disks. They never touch the journal, which belongs to the loop's thread:
the work is a module-level function, and the loop hands it all its data.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FunctionType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from povwatch.core.mailbox import Mailbox

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class JobWork:
    """The key of work for one job, which pays if the work's result cannot be handled."""

    job_id: int
    step: str
    """For people, in the past tense: "finished", as in "while it finished job 12"."""
    part: Hashable = None
    """Tells works of one step apart."""


T = TypeVar("T")
P = ParamSpec("P")


class Background:
    """A thread pool whose results are handled in the loop."""

    def __init__(
        self, wake: Callable[[], None], *, threads: int, broken: Callable[[Hashable, Exception], None]
    ) -> None:
        self._broken = broken
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="background")
        self._ended: Mailbox[tuple[Hashable, Any]] = Mailbox(wake)
        """Keys and outcomes."""
        self._cancels: dict[Hashable, threading.Event] = {}
        self._thens: dict[Hashable, Callable[[Any], None]] = {}

    def submit(
        self,
        key: Hashable,
        then: Callable[[T | Exception], None],
        work: Callable[Concatenate[threading.Event, P], T],
        *data: P.args,
        **named: P.kwargs,
    ) -> None:
        """Call `work` in a thread; then call `then` in the loop with its result or its exception.

        `work` gets an event that is set once its result is no longer wanted, then the data.

        Raises:
            TypeError: `work` is a method or a closure.
            ValueError: work with this key is under way.
        """
        if not isinstance(work, FunctionType) or not work.__qualname__.isidentifier():
            raise TypeError(f"{work!r} is no function of a module: what it holds may reach the journal")
        if key in self._cancels:
            raise ValueError(f"{key} is under way already")
        self._thens[key] = then
        cancelled = self._cancels[key] = threading.Event()
        self._pool.submit(_run, self._ended, key, work, (cancelled, *data), named)

    def handle_results(self) -> None:
        """Handle every result since the last call, in the loop."""
        for key, outcome in self._ended.take():
            self._end(key, outcome)

    def busy(self, key: Hashable) -> bool:
        """Whether this work is under way, or its result not yet handled."""
        return key in self._cancels

    def cancel(self, key: Hashable) -> None:
        """Tell the work that it is no longer wanted; it ends as soon as it notices."""
        if key in self._cancels:
            self._cancels[key].set()

    def close(self) -> None:
        """Cancel everything and wait for the threads. No result is handled any more."""
        for cancelled in self._cancels.values():
            cancelled.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._cancels

    def _end(self, key: Hashable, outcome: Any) -> None:  # noqa: ANN401 - the work's own
        del self._cancels[key]
        then = self._thens.pop(key)
        try:
            then(outcome)
        except Exception as error:  # noqa: BLE001 - the daemon decides what to do about it
            self._broken(key, error)


def _run(
    ended: Mailbox[tuple[Hashable, Any]],
    key: Hashable,
    work: Callable[..., Any],
    data: Sequence[object],
    named: Mapping[str, object],
) -> None:
    outcome: Any
    try:
        outcome = work(*data, **named)
    except Exception as error:  # noqa: BLE001 - whatever it is, the loop decides about it
        outcome = error
    ended.put((key, outcome))
