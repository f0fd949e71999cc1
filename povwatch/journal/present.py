"""The present jobs in memory, found by state without a look at each: there may be ten thousand. Pure."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from povwatch.core.job import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from povwatch.core.job import Job

LONG = 500


class PresentJobs:
    """Jobs by number and by state; the queued ones in the order of their turns."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self.by_id: dict[int, Job] = {}
        self._by_state: dict[JobState, dict[int, Job]] = {state: {} for state in JobState}
        self._turns: list[tuple[int, float, int]] = []
        """The keys of the queued jobs, in order."""
        self.postponed: dict[int, Job] = {}
        """The queued jobs that had to wait until some time, be it over or not."""
        self.changes = 0
        """How often a queued job came, went or changed."""
        for job in jobs:
            self.put(job)

    def put(self, job: Job) -> None:
        """Add a job, or replace the one with its number."""
        self.drop(job.id)
        self.by_id[job.id] = self._by_state[job.state][job.id] = job
        if job.state is JobState.QUEUED:
            insort(self._turns, turn(job))
            self.changes += 1
            if job.not_before:
                self.postponed[job.id] = job

    def drop(self, job_id: int) -> None:
        """Forget a job, if it is here."""
        job = self.by_id.pop(job_id, None)
        if job is None:
            return
        del self._by_state[job.state][job_id]
        if job.state is JobState.QUEUED:
            del self._turns[bisect_left(self._turns, turn(job))]
            self.postponed.pop(job_id, None)
            self.changes += 1

    def in_state(self, *states: JobState) -> list[Job]:
        """The jobs in these states, in the order of their turns."""
        if states == (JobState.QUEUED,):
            return list(self.queued())
        return sorted((job for state in states for job in self._by_state[state].values()), key=turn)

    @property
    def long(self) -> bool:
        """Whether so many jobs are queued that looking at each takes milliseconds."""
        return len(self._turns) > LONG

    def queued(self) -> Iterator[Job]:
        """The queued jobs, in the order of their turns; those that leave the queue meanwhile are left out."""
        queued = self._by_state[JobState.QUEUED]
        return (queued[job] for _, _, job in self._turns.copy() if job in queued)


def turn(job: Job) -> tuple[int, float, int]:
    """What orders jobs: a higher priority goes first, then the older one."""
    return (-job.priority, job.created_at, job.id)
