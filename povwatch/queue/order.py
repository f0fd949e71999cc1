"""The order of the queue, and what its jobs wait on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core import retry
from povwatch.core.changes import NotBefore
from povwatch.core.job import Job, JobState

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.core.blockers import Blocker
    from povwatch.journal.store import JobStore


class Turns:
    """The queued jobs, in order."""

    def __init__(self, store: JobStore, ready: Callable[[Job], bool] = lambda _: True) -> None:
        self._store = store
        self._ready = ready

    def due(self) -> list[Job]:
        """The jobs that may start now, the next one first."""
        wall = self._store.clock.wall()
        return [job for job in self._queue() if job.not_before <= wall and self._ready(job)]

    def mend(self) -> None:
        """Shorten the pauses that became too long because the clock was set back.

        Published jobs are included: a hook that failed after one has a pause too.
        """
        wall = self._store.clock.wall()
        for job in [*self._queue(), *self._store.in_state(JobState.PUBLISHING)]:
            at = retry.clamped(job.not_before, wall)
            if at != job.not_before:
                self._store.apply(job, NotBefore(at=at))

    def wait(self, blocker: Blocker) -> None:
        """Note the blocker for every queued job, except the jobs that wait on something of their own.

        The log has one line about the blocker already, which is not repeated for a thousand jobs.
        """
        now = (blocker.waiting, blocker.problem)
        waiting = [job for job in self.due() if (job.waiting_on, job.detail) != now]
        if waiting:
            with self._store.together():
                for job in waiting:
                    self._store.wait(job, blocker.waiting, blocker.problem, quiet=True)

    def next_deadline(self) -> float | None:
        """When the next pause of a job ends, on the boot clock."""
        clock = self._store.clock
        wall = clock.wall()
        # A job that is due already waits on something else.
        pauses = [job.not_before for job in self._queue() if job.not_before > wall]
        return min(pauses) - wall + clock.boot() if pauses else None

    def _queue(self) -> list[Job]:
        return [job for job in self._store.in_state(JobState.QUEUED) if job.path in self._store.scope]
