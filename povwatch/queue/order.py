"""The order of the queue, and what its jobs wait on."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from povwatch.core import retry
from povwatch.core.blockers import Blocker
from povwatch.core.changes import NotBefore
from povwatch.core.job import Job, JobState, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.core.blockers import Blockers
    from povwatch.hooks.runner import HookRunner
    from povwatch.journal.store import JobStore


NOTED_AT_ONCE = 100
"""Jobs at most with which a turn notes what they wait on: each is a row of the journal."""

NOTED_EVERY = 1.0
"""Seconds between two looks at a long queue for jobs that have another reason."""


class JobQueue:
    """The queued jobs, in order."""

    def __init__(self, store: JobStore, *, hooks: HookRunner, blockers: Blockers) -> None:
        self._store = store
        self._hooks = hooks
        self._blockers = blockers
        self._noted: tuple[Waiting, str, int] | None = None
        """The reason that every job that was due has, and PresentJobs.changes then; None while some have another."""
        self._noted_at = 0.0
        """When that was looked at, on the boot clock."""

    @property
    def blocker(self) -> Blocker | None:
        """Why no job may start."""
        return self._blockers.generating()

    def due(self) -> Iterator[Job]:
        """The jobs that may start now, the next one first. Each is looked at when it is its turn: there may be many."""
        wall = self._store.clock.wall()
        return (job for job in self._queued() if job.not_before <= wall and self._hooks.ready(job))

    def shorten_pauses(self) -> None:
        """Shorten the pauses of jobs that became too long because the clock was set back.

        Published jobs are included: a hook that failed after one has a pause too.
        """
        wall = self._store.clock.wall()
        for job in [*self._postponed(), *self._store.in_state(JobState.PUBLISHING)]:
            at = retry.clamped(job.not_before, wall)
            if at != job.not_before:
                self._store.apply(job, NotBefore(at=at))

    def note_blocker(self) -> None:
        """Note what blocks the queue with every job that is due; the other jobs wait on something of their own.

        The log has one line about the blocker already, which is not repeated for a thousand jobs. A turn notes it with
        the first of them, and the next turns with the others.
        """
        blocker = self.blocker or Blocker(Waiting.TURN, "it starts when a worker is free")
        now = (blocker.waiting, blocker.problem)
        boot, present = self._store.clock.boot(), self._store.present
        if self._noted == (*now, present.changes) and not self._postponed():
            return
        if self._noted and self._noted[:2] == now and present.long and boot < self._noted_at + NOTED_EVERY:
            return
        self._noted_at = boot
        waiting = list(islice((job for job in self.due() if (job.waiting_on, job.detail) != now), NOTED_AT_ONCE))
        if waiting:
            with self._store.together():
                for job in waiting:
                    self._store.wait(job, *now, quiet=True)
        self._noted = None if len(waiting) == NOTED_AT_ONCE else (*now, present.changes)

    def next_deadline(self) -> float | None:
        """When the next job's pause ends, on the boot clock."""
        clock = self._store.clock
        wall = clock.wall()
        # A job that is due already waits on something else.
        ends = (job.not_before - wall + clock.boot() for job in self._postponed() if job.not_before > wall)
        return min(ends, default=None)

    def _queued(self) -> Iterator[Job]:
        return (job for job in self._store.present.queued() if job.path in self._store.scope)

    def _postponed(self) -> list[Job]:
        return [job for job in self._store.present.postponed.values() if job.path in self._store.scope]
