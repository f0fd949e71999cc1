"""Settles the jobs that were under way when povwatch ended, before any work is taken.

publishing   the promise is kept
checking     a durable artifact is checked again; without one the job goes back to the queue
running      back to the queue; the third crash that counts fails the job
queued, grace, arriving   go on where they were

A crash counts against one of the jobs that were running or checked, since nobody knows which of them was its cause: the
one with the fewest crashes, and a running one before one that is checked. So the looks of a clip that are checked at
once are not all given up for three crashes, and a job that is the cause is, once the others are done or were charged as
often.

If povwatch cannot go on with a job, only that job pays: it is released and tried again. At the third start in a row
that fails, the job is `failed`; its files are kept if its result was made.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from povwatch.core.errors import JobFailed, PovwatchError
from povwatch.core.events import say
from povwatch.core.job import CLAIMED, WAITING, Job, JobState
from povwatch.core.quality import Tries
from povwatch.core.unforeseen import translate_unforeseen
from povwatch.daemon.mishaps import GIVEN_UP_AT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.core.stage import Mishaps
    from povwatch.journal.store import JobStore
    from povwatch.publish.staging import Staging

ORDER = (*(s for s in reversed(JobState) if s in CLAIMED), *(s for s in JobState if s in WAITING))
"""Promises first: povwatch makes nothing in outputs/ before they are kept. Arriving clips are followed once seen."""

FACT = "recoveries"
"""The journal's name for the jobs that could not be recovered, and at how many starts in a row."""


def recover(store: JobStore, mishaps: Mishaps) -> None:
    """Let each stage go on with its jobs. `sweep` comes next."""
    counts: Counter[str] = Counter()
    under_way = store.in_state(JobState.RUNNING, JobState.CHECKING)
    suspect = min(under_way, key=lambda job: (job.crashes, job.state is JobState.CHECKING, job.id), default=None)
    store.suspect = suspect.id if suspect and store.suspect is None else store.suspect
    failures = _Failures(store, mishaps)
    for job in [job for state in ORDER for job in store.in_state(state)]:
        with failures.of(job):
            if follows := store.stage_of(job).resume(job):
                counts[follows] += 1
    try:
        failures.keep()
    except Exception as error:  # noqa: BLE001 - the jobs go on already: they must not be recovered once more
        translate_unforeseen(error, "while it noted what could not be recovered")
    if counts:
        say("recovered", summary=", ".join(f"{count} {what}" for what, count in counts.items()))


def sweep(store: JobStore, staging: Staging) -> None:
    """Delete private folders that belong to no job and no attempt, once the jobs are settled."""
    waiting = store.in_state(*WAITING)
    tried = (*(job for job in store.claimed if job.run_id is not None), *store.journal.kept())
    attempts = {job.run_id for job in tried if job.run_id}
    for job in (*waiting, *tried):  # the results of seeds that were tried
        attempts.update(Tries.from_json(job.tries).run_ids)
    with suppress(PovwatchError):  # outputs_watch reports a link or a missing permission
        staging.sweep({job.id for job in (*waiting, *store.claimed)}, attempts)


class _Failures:
    """Counts for each job the starts in a row that could not recover it; the journal keeps the counts as a fact."""

    def __init__(self, store: JobStore, mishaps: Mishaps) -> None:
        self._store, self._mishaps = store, mishaps
        self._before: dict[str, int] = store.journal.fact(FACT) or {}
        self._now: dict[str, int] = {}

    @contextmanager
    def of(self, job: Job) -> Iterator[None]:
        """Charge a failure to this job: it is released, and given up at the third start."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is
            found = translate_unforeseen(error, "while it was recovered")
            times = self._now[str(job.id)] = self._before.get(str(job.id), 0) + 1
            try:
                self._release_or_give_up(self._store.job(job.id), found, times)
            except Exception as another:  # noqa: BLE001 - as above
                self._mishaps.charge(job.id, "recovered", another)

    def keep(self) -> None:
        """Journal the counts."""
        if self._now != self._before:
            self._store.journal.set_facts(**{FACT: self._now})

    def _release_or_give_up(self, job: Job, found: PovwatchError, times: int) -> None:
        if times < GIVEN_UP_AT:
            self._mishaps.charge(job.id, "recovered", found)
            return
        often = f"povwatch could not go on with it at {times} starts in a row."
        error = JobFailed(f"{often} {found.what}", found.todo)
        self._store.stage_of(job).give_up(job, error)
