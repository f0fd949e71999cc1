"""What was under way when povwatch ended is settled before any work is taken.

publishing   the promise is kept
checking     the artifact is there and durable: it is checked again; else back to the queue
running      back to the queue, with the crash counted; failed at the third
queued, grace, arriving   go on where they were

A job that povwatch cannot go on with costs itself alone: it is released, tried again in this life, and given up at the
third start in a row at which that fails: `failed`, with its files kept if its result was made.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from povwatch.attempt.attempt import Attempt, readable_attempt
from povwatch.attempt.failed import CLEARED
from povwatch.core import retry
from povwatch.core.command import command
from povwatch.core.errors import FinishFailed, JobFailed, PovwatchError
from povwatch.core.events import say
from povwatch.core.job import Job, JobState
from povwatch.core.unforeseen import in_words
from povwatch.daemon.mishaps import GIVEN_UP_AT
from povwatch.files import private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from povwatch.attempt.failed import FailedAttempts
    from povwatch.grace.stage import GraceStage
    from povwatch.journal.store import JobStore
    from povwatch.publish import Publisher
    from povwatch.results.stage import ResultsStage

S = JobState

FACT = "recoveries"
"""Under which name the journal keeps the jobs that could not be recovered, and at how many starts in a row."""


def recover(
    store: JobStore,
    gates: GraceStage,
    failed_attempts: FailedAttempts,
    finisher: ResultsStage,
    *,
    crashed: bool,
    broken: Callable[[tuple[str, int], Exception], None],
) -> None:
    """Settle every job that has not ended. `sweep` comes next.

    Args:
        store: the jobs.
        gates: take back what was between arrival and claim.
        failed_attempts: what becomes of a job after a crash.
        finisher: takes back what was being checked or published.
        crashed: whether the last daemon had no time to say goodbye.
        broken: told of a job whose recovery raised what nobody foresaw.
    """
    counts: Counter[str] = Counter()
    claimed = list(store.claimed)
    failures = _Failures(store, failed_attempts, gates, broken)
    for job in store.in_state(S.PUBLISHING):  # first: nothing of ours is made in outputs/ before the promises are kept
        with failures.of(job):
            say("orphaned", job, what="its promise is kept now")
            finisher.publish(job)
            counts["published"] += 1
    for job in store.in_state(S.CHECKING):
        with failures.of(job):
            counts[_check_again(job, store, failed_attempts, finisher, crashed=crashed)] += 1
    for job in [job for job in claimed if job.state is S.RUNNING]:
        with failures.of(job):
            _requeue(job, store, failed_attempts)
            counts["to run again"] += 1
    for job in store.in_state(S.GRACE, S.QUEUED):
        with failures.of(job):
            gates.resume(job)
    try:
        failures.keep()
    except Exception as error:  # noqa: BLE001 - the jobs go on already: they must not be recovered once more
        in_words(error, "while it noted what could not be recovered")
    if counts:
        say("recovered", summary=", ".join(f"{count} {what}" for what, count in counts.items()))


def sweep(store: JobStore, publisher: Publisher) -> None:
    """Clear the private folders of all that belongs to no job and no run, once the jobs are settled."""
    waiting = store.in_state(S.QUEUED, S.GRACE)
    runs = (*(job for job in store.claimed if job.run_id is not None), *store.journal.kept())
    with suppress(PovwatchError):  # a link is in its place, or it cannot be written: outputs_watch says so
        publisher.sweep({job.id for job in (*waiting, *store.claimed)}, {job.run_id for job in runs if job.run_id})


class _Failures:
    """At how many starts in a row each job could not be recovered; the journal keeps that as a fact."""

    def __init__(
        self,
        store: JobStore,
        failed_attempts: FailedAttempts,
        gates: GraceStage,
        broken: Callable[[tuple[str, int], Exception], None],
    ) -> None:
        self._store, self._failed_attempts, self._grace, self._broken = store, failed_attempts, gates, broken
        self._before: dict[str, int] = store.journal.fact(FACT) or {}
        self._now: dict[str, int] = {}

    @contextmanager
    def of(self, job: Job) -> Iterator[None]:
        """Have a failure cost this job: it is released, and given up at the third start."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is
            found = in_words(error, "while it was recovered")
            times = self._now[str(job.id)] = self._before.get(str(job.id), 0) + 1
            try:
                self._release_or_give_up(self._store.job(job.id), found, times)
            except Exception as another:  # noqa: BLE001 - as above
                self._broken(("recovery", job.id), another)

    def keep(self) -> None:
        """Journal the counts."""
        if self._now != self._before:
            self._store.journal.set_facts(**{FACT: self._now})

    def _release_or_give_up(self, job: Job, found: PovwatchError, times: int) -> None:
        if times < GIVEN_UP_AT:
            self._broken(("recovery", job.id), found)
            return
        often = f"povwatch could not go on with it at {times} starts in a row."
        error = JobFailed(f"{often} {found.what}", found.todo)
        give_up(job, error, gates=self._grace, failed_attempts=self._failed_attempts)


def give_up(job: Job, error: PovwatchError, *, gates: GraceStage, failed_attempts: FailedAttempts) -> None:
    """End a job that povwatch itself failed at; with its files kept, if its result was made."""
    if job.state is S.PUBLISHING:
        failed_attempts.set_aside(job, error)
        return
    if job.state is S.CHECKING and job.artifact:
        attempt = readable_attempt(job.artifact)
        if attempt is None:
            failed_attempts.set_aside(job, error)
        else:
            failed_attempts.keep(job, attempt, error)
        return
    gates.drop(job)
    failed_attempts.fail(job, error)


def _check_again(
    job: Job, store: JobStore, failed_attempts: FailedAttempts, finisher: ResultsStage, *, crashed: bool
) -> str:
    attempt = Attempt.from_json(job.artifact or "{}") if job.artifact else None
    if attempt is None or (attempt.lost and not private.taken(attempt.folder)):
        _requeue(job, store, failed_attempts)
        return "to run again"
    crashes = job.crashes + crashed
    if crashed and crashes >= retry.CRASHES_MAX:
        job = replace(job, crashes=crashes)
        failed_attempts.keep(
            job, attempt, FinishFailed(retry.after_crash(crashes, 0.0).reason, "Look at journalctl -k.")
        )
        return "given up"
    say("orphaned", job, what="its artifact is checked again")
    finisher.check(store.set_quietly(job, "orphaned", crashes=crashes), attempt)
    return "checked again"


def _requeue(job: Job, store: JobStore, failed_attempts: FailedAttempts) -> None:
    wall = store.clock.wall()
    job = replace(job, crashes=job.crashes + 1)
    decision = retry.after_crash(job.crashes, wall)
    if decision.kind is retry.Kind.FAIL:
        again = command("retry", clip=job.path)
        failed_attempts.fail(job, JobFailed(decision.reason, f"Look at journalctl -k of that time; then: {again}"))
        return
    to = {
        "state": S.QUEUED,
        "waiting_on": decision.waiting,
        "detail": decision.reason,
        "not_before": decision.at,
        # A crash is counted apart from attempts: it says nothing about the job alone.
        "attempts": max(job.attempts - 1, 0),
    }
    store.move(job, "orphaned", said={"state": str(job.state), "what": "it runs again"}, **CLEARED, **to)
