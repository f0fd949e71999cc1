"""Tells whether the engine can take jobs now: it may not be loaded, or the machine may have failed the last jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.blockers import Blocker
from povwatch.core.events import say
from povwatch.core.job import Waiting
from povwatch.core.machine_faults import until as known_until

if TYPE_CHECKING:
    from povwatch.core.clock import Clock
    from povwatch.core.errors import PovwatchError

_WAITS = {"gpu-lost": Waiting.GPU_LOST, "gpu-busy": Waiting.GPU_BUSY, "disk-full": Waiting.DISK_FULL}
"""Kinds of failed loads that have a reason to wait of their own."""


class Availability:
    """Why no job may start, as far as the engine and the last jobs tell."""

    def __init__(self, clock: Clock, kind: str) -> None:
        self._clock = clock
        self._kind = kind
        self._paused: Blocker | None = None
        self.pauses = 0
        """Jobs in a row that failed because of the machine."""
        self._generating = False
        """Whether one of those jobs failed in an engine. A copy that succeeds says nothing about that."""
        self.engine: Blocker | None = None
        """Why the engine cannot be used; None if it can."""
        self.gpu: Blocker | None = None
        """Why no GPU can take a job, even if an engine is loaded; None if one can."""
        self.blind_looks = 0
        """Looks in a row that saw no usable GPU."""

    def blocker(self, now: float) -> Blocker | None:
        """What blocks jobs at `now`, on the boot clock."""
        if self._paused is not None and now >= self._paused.until:
            self._paused = None
        return self.gpu or self.engine or self._paused

    def next_deadline(self) -> float | None:
        """Time at which a pause ends."""
        return self._paused.until if self._paused else None

    def pause(self, waiting: Waiting, error: PovwatchError, until: float, *, prepared: bool) -> bool:
        """Pause after the machine failed a job that is not to blame.

        Args:
            until: earliest end, on the wall clock; each pause in a row is longer than the one before.
            prepared: whether the job's copies were made.

        Returns:
            Whether the log needs no line about this job, because other jobs failed in the same way before it.
        """
        self.pauses += 1
        self._generating = self._generating or prepared
        again = known_until(error)
        grown = again.pause(self.pauses) if again else 0.0
        when = max(until - self._clock.wall(), grown) + self._clock.boot()
        problem = str(error)
        self._paused = Blocker(waiting, problem, when)
        say("queue-paused", problem=problem, at=self._clock.spell(when))
        return again is not None and self.pauses > 1

    def prepared(self) -> None:
        """A job's copies were made: if copies failed before, the machine works again."""
        if not self._generating:
            self.pauses = 0

    def generated(self) -> None:
        """A job was generated: the machine works."""
        self.pauses, self._generating = 0, False

    def loaded(self) -> None:
        """The engine is loaded."""
        self.engine = None

    def gpu_is_away(self, blocker: Blocker) -> None:
        """No GPU can take a job."""
        self.gpu = blocker
        self.blind_looks += 1

    def gpu_is_back(self) -> None:
        """The GPUs can be used again."""
        self.gpu, self.blind_looks = None, 0

    def room_again(self) -> None:
        """The GPU that a worker waits for has room; the worker loads."""
        if self.engine is not None and self.engine.waiting in {Waiting.GPU_BUSY, Waiting.GPU_LOST}:
            self.engine = None

    def load_failed(
        self, kind: str, problem: str, retry_at: float, *, others: bool, label: str, news: bool = True
    ) -> None:
        """A worker could not load the engine.

        Args:
            kind: see engine.port.FailureKind.
            problem: as sentences.
            retry_at: on the boot clock; infinity if there is no retry.
            others: whether other workers have the engine loaded.
            label: the worker for people.
            news: whether the log needs a line; False if it has the same one already.
        """
        self.lost(problem, _WAITS.get(kind, Waiting.ENGINE_UNAVAILABLE), others=others)
        if not news:
            return
        at = "after a reboot" if retry_at == float("inf") else self._clock.spell(retry_at)
        if others:
            say("worker-unavailable", label=label, problem=problem, at=at)
        else:
            say("engine-unavailable", engine=self._kind, problem=problem, at=at)

    def lost(self, problem: str, waiting: Waiting = Waiting.ENGINE_UNAVAILABLE, *, others: bool) -> None:
        """A worker without a job is gone."""
        if not others:
            self.engine = Blocker(waiting, problem)
