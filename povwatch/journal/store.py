"""The jobs under way. Every change of one goes through here: journalled first, then said.

Jobs that still arrive are kept in the journal alone, as there may be a hundred thousand of them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from povwatch.core.events import say
from povwatch.core.job import CLAIMED, Job, JobState, Waiting
from povwatch.journal.reader import Known

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from povwatch.core.clock import Clock
    from povwatch.journal import Journal


class JobStore:
    """The journal with a memory."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self.journal = journal
        self.clock = clock
        self.known: dict[bytes, Known] = journal.known()
        """For every clip ever seen, its newest job."""
        self._jobs: dict[int, Job] = {job.id: job for job in journal.active() if job.state is not JobState.ARRIVING}
        self.counts = Counter(journal.counts())
        """How many jobs there are in each state."""
        self.ended: dict[int, Job] = {}
        """The jobs that ended since the start, in that order."""
        self._unsaid: list[tuple[str, Job, Mapping[str, Any]]] | None = None
        """What is said when it is journalled; None if that is at once."""
        self._touched: set[int] = set()
        """The jobs that were changed since, for the same."""

    def job(self, job_id: int) -> Job:
        """A job as it is now."""
        if found := self._jobs.get(job_id):
            return found
        job = self.journal.job(job_id)
        if job is None:
            raise KeyError(job_id)
        return job

    def reread(self, job_id: int) -> Job:
        """A job as the journal has it: what is remembered may be behind, where something failed in between."""
        self._jobs.pop(job_id, None)
        job = self.job(job_id)
        self._remember(job)
        return job

    def of_path(self, path: bytes) -> Job | None:
        """The newest job of a clip, ended or not."""
        known = self.known.get(path)
        return self.job(known.job) if known else None

    def in_state(self, *states: JobState) -> list[Job]:
        """The jobs in some states: higher priority first, then older first. Not for `arriving`."""
        found = [job for job in self._jobs.values() if job.state in states]
        return sorted(found, key=lambda job: (-job.priority, job.created_at, job.id))

    @property
    def claimed(self) -> Iterator[Job]:
        """The jobs with an attempt under way."""
        return (job for job in self._jobs.values() if job.state in CLAIMED)

    def add(self, clips: Iterable[tuple[bytes, bytes]], *, force: bool = False) -> list[Job]:
        """Jobs for clips that were seen; a transaction for all of them."""
        with self.together():  # what the journal has and nobody remembers could not be added again
            jobs = self.journal.add(clips, self.clock.wall(), force=force)
            for job in jobs:
                self._remember(job)
        return jobs

    def move(
        self,
        job: Job,
        event: str,
        *,
        said: Mapping[str, Any] | None = None,
        **to: Any,  # noqa: ANN401 - a job's own fields
    ) -> Job:
        """Change a job and say so.

        Args:
            job: as the caller knows it.
            event: a name from voice.SENTENCES.
            said: what the sentence names; journalled with the event.
            to: the job's fields that change.
        """
        new = self.journal.advance(job, event, self.clock.wall(), data=said, **to)
        self._remember(new)
        self.tell(event, new, said or {})
        return new

    def note(self, job: Job, event: str, said: Mapping[str, Any]) -> None:
        """Journal something about a job that changes nothing, and say so."""
        self.journal.note(job, event, self.clock.wall(), said)
        self.tell(event, job, said)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Journal all changes of the block as one, and say them after that: a crash leaves all of them, or none.

        So does an exception: the jobs are then what they were. A block within another is taken back by itself, and
        is said with the outer one.
        """
        outer, touched_before = self._unsaid, self._touched
        unsaid = self._unsaid = []
        touched = self._touched = set()
        try:
            with self.journal.batch():
                yield
        except BaseException:
            for job_id in list(touched):
                self.ended.pop(job_id, None)
                if job := self.journal.job(job_id):
                    self._remember(job)
                else:
                    self._forget(job_id)
            raise
        finally:
            self._unsaid, self._touched = outer, touched_before
        self._touched |= touched
        for event, job, said in unsaid:
            self.tell(event, job, said)

    def record(self, job: Job, event: str, said: Mapping[str, Any], /, **to: Any) -> Job:  # noqa: ANN401 - a job's own fields
        """Change a job without a word in the log, or one of `tell` later; `said` is journalled with the event."""
        new = self.journal.advance(job, event, self.clock.wall(), data=said, **to)
        self._remember(new)
        return new

    def set_quietly(self, job: Job, event: str, **to: Any) -> Job:  # noqa: ANN401 - a job's own fields
        """Change a job without a word in the log: the journal has it."""
        new = self.journal.advance(job, event, self.clock.wall(), **to)
        self._remember(new)
        return new

    def wait(self, job: Job, waiting: Waiting, detail: str, *, quiet: bool = False) -> Job:
        """Note what a job waits on, if that is new."""
        if (job.waiting_on, job.detail) == (waiting, detail):
            return job
        silent = quiet or job.waiting_on == waiting
        to = {"waiting_on": waiting, "detail": detail}
        if silent:
            return self.set_quietly(job, "waiting", **to)
        return self.move(job, "waiting", said={"waiting": str(waiting), "detail": detail}, **to)

    def touch(self, job: Job, *, source_stat: bytes | None = None, spec_stat: bytes | None = None) -> None:
        """The clip or its JSON was looked at again and means nothing new."""
        self.journal.save_signatures(job.id, source_stat=source_stat, spec_stat=spec_stat)
        changes = {k: v for k, v in (("source_stat", source_stat), ("spec_stat", spec_stat)) if v is not None}
        self._remember(dataclasses.replace(self.job(job.id), **changes))  # type: ignore[arg-type]

    def _forget(self, job_id: int) -> None:
        """A job was taken back before it was journalled: its clip's newest one is the one before."""
        for path in [path for path, known in self.known.items() if known.job == job_id]:
            self.counts[self.known.pop(path).state] -= 1
            if before := self.journal.latest(path):
                self.known[path] = _known(before)

    def tell(self, event: str, job: Job, said: Mapping[str, Any]) -> None:
        """Say what is journalled, or is journalled with the block of `together`."""
        if self._unsaid is None:
            say(event, job, **said)
        else:
            self._unsaid.append((event, job, said))

    def _remember(self, job: Job) -> None:
        self._touched.add(job.id)
        was = self.known.get(job.path)
        if was is not None and was.job == job.id:
            self.counts[was.state] -= 1
        self.counts[job.state] += 1
        self.known[job.path] = _known(job)
        if job.ended or job.state is JobState.ARRIVING:
            self._jobs.pop(job.id, None)
        else:
            self._jobs[job.id] = job
        if job.ended:
            self.ended[job.id] = job
        else:
            self.ended.pop(job.id, None)  # finished again after it had failed


def _known(job: Job) -> Known:
    return Known(job.id, job.base, job.state, job.source_stat, job.spec_stat)
