"""Pauses the queue after the machine failed a job, unless other jobs can go on or the reason is known already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.blockers import Blocker
from povwatch.core.errors import OutputsAway, OutputsNotWritable
from povwatch.core.events import say
from povwatch.core.job import Waiting
from povwatch.core.machine_faults import retry_times

if TYPE_CHECKING:
    from povwatch.core.clock import Clock
    from povwatch.core.errors import EnvironmentFault
    from povwatch.publish.outputs_watch import OutputsWatch
    from povwatch.workers.pool import WorkerPool


class QueuePauses:
    """Keeps jobs from starting for a while. Each pause in a row is longer than the one before."""

    def __init__(self, clock: Clock, pool: WorkerPool, outputs_watch: OutputsWatch) -> None:
        self._clock = clock
        self._pool = pool
        self._outputs_watch = outputs_watch
        self._reason: Blocker | None = None
        """Why the last pause began."""
        self._until = 0.0
        """When the last pause ends, on the boot clock."""
        self._failures = 0
        """Jobs in a row that failed because of the machine."""
        self._failed_generating = False
        """Whether one of those jobs failed in an engine. A copy that succeeds says nothing about that."""

    @property
    def blocker(self) -> Blocker | None:
        """The pause; None if there is none."""
        return self._reason if self._clock.boot() < self._until else None

    def next_deadline(self) -> float | None:
        """When the pause ends."""
        return self._until if self.blocker else None

    def given_up(self, times: int) -> bool:
        """Whether so many jobs in a row failed because of the machine."""
        return self._failures >= times

    def pause(self, waiting: Waiting, error: EnvironmentFault, until: float, *, prepared: bool) -> bool:
        """Pause after the machine failed a job that is not to blame.

        Args:
            waiting: what the job waits on.
            error: the machine's.
            until: earliest end, on the wall clock.
            prepared: whether the job's copies were made.

        Returns:
            Whether the log needs no line about this job, because other jobs failed in the same way before it.
        """
        if waiting in {Waiting.GPU_LOST, Waiting.GPU_BUSY} and self._pool.loaded:
            return False  # the other workers have GPUs of their own
        outputs = isinstance(error, OutputsNotWritable | OutputsAway)
        if outputs and self._outputs_watch.refuses(self._clock.boot()):
            return False  # it logs that once, and sees when it is over
        self._failures += 1
        self._failed_generating = self._failed_generating or prepared
        again = retry_times(error)
        grown = again.pause(self._failures) if again else 0.0
        self._reason = Blocker(waiting, str(error))
        self._until = max(until - self._clock.wall(), grown) + self._clock.boot()
        say("queue-paused", problem=str(error), at=self._clock.spell(self._until))
        return again is not None and self._failures > 1

    def prepared(self) -> None:
        """A job's copies were made: if copies failed before, the machine works again."""
        if not self._failed_generating:
            self._failures = 0

    def generated(self) -> None:
        """A job was generated: the machine works."""
        self._failures, self._failed_generating = 0, False
