"""Whose turn it is in the queue, and what the others are told that they wait on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core import retry
from povwatch.core.changes import NotBefore
from povwatch.core.job import Job, JobState
from povwatch.core.scope import ALL

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.core.blockers import Blocker
    from povwatch.core.scope import Scope
    from povwatch.journal.store import JobStore


class Turns:
    """The queued jobs, in order."""

    def __init__(self, store: JobStore, ready: Callable[[Job], bool] = lambda _: True, scope: Scope = ALL) -> None:
        self._store = store
        self._ready = ready
        self._scope = scope

    def due(self) -> list[Job]:
        """The jobs that may start now, the next one first."""
        wall = self._store.clock.wall()
        return [job for job in self._queue() if job.not_before <= wall and self._ready(job)]

    def mend(self) -> None:
        """Let no job wait for a time that only a clock set back has made far away.

        Nor one that is published: a hook after it that failed has its pause too.
        """
        wall = self._store.clock.wall()
        for job in [*self._queue(), *self._store.in_state(JobState.PUBLISHING)]:
            at = retry.clamped(job.not_before, wall)
            if at != job.not_before:
                self._store.apply(job, NotBefore(at=at))

    def wait(self, blocker: Blocker) -> None:
        """Note for every queued job what it waits on, but for those that wait on something of their own.

        The log has one line about it already, which is not said again for each of a thousand jobs.
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
        # One that is due already waits on something else: its time has come long ago.
        pauses = [job.not_before for job in self._queue() if job.not_before > wall]
        return min(pauses) - wall + clock.boot() if pauses else None

    def _queue(self) -> list[Job]:
        return [job for job in self._store.in_state(JobState.QUEUED) if job.path in self._scope]
