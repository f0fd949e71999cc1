"""Handles a claimed job that failed: it is retried, released, failed, blocked or cancelled.

retry.py decides. This module journals and logs the decision, and writes the error file.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from povwatch.attempt.attempt import readable_attempt
from povwatch.attempt.judging import attempt_of, plan_for, tries_of
from povwatch.core import layout, retry
from povwatch.core.changes import (
    ArrivesAgain,
    Blocked,
    Cancelled,
    Failed,
    FailedKept,
    FinishAgain,
    QuietlyRequeued,
    Requeued,
    TriesEnded,
)
from povwatch.core.command import command
from povwatch.core.errors import (
    AttemptFailed,
    EnvironmentFault,
    FinishFailed,
    JobFailed,
    JournalError,
    NotAVideo,
    OutputsAway,
    OutputsTaken,
    PovwatchError,
    RemoteWorkerDied,
    SourceChanged,
)
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.quality import Tries, best
from povwatch.core.retry import Action
from povwatch.core.sentences import joined
from povwatch.files import private
from povwatch.publish import Sealed
from povwatch.spec.error_texts import Case

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.attempt.attempt import Attempt
    from povwatch.config.settings import Config
    from povwatch.journal.store import JobStore
    from povwatch.publish.staging import Staging
    from povwatch.spec.error_files import ErrorFiles


class Pauses(Protocol):
    """Keeps jobs from starting for a while."""

    def pause(self, waiting: Waiting, error: EnvironmentFault, until: float, *, prepared: bool) -> bool:
        """Pause the queue, since the next job would meet the same error; True if this job needs no log line."""


class FailedAttempts:
    """Ends attempts that did not succeed."""

    def __init__(
        self,
        config: Config,
        *,
        store: JobStore,
        error_files: ErrorFiles,
        staging: Staging,
        pauses: Pauses,
    ) -> None:
        self._config = config
        self._store = store
        self._error_files = error_files
        self._staging = staging
        self._pauses = pauses

    def end(self, job: Job, error: PovwatchError, *, prepared: bool = False) -> None:
        """End an attempt with an error. `prepared`: its copies were made."""
        if isinstance(error, RemoteWorkerDied):
            self._requeue_after_loss(job, error)
            return
        wall = self._store.clock.wall()
        error = self._excused(job, error)
        decision = retry.decide(error, attempts=job.attempts, limit=self._config.engine.attempts, now=wall)
        match decision.action:
            case Action.RETRY:
                fields = {
                    "attempt": job.attempts,
                    "problem": str(error),
                    "at": self._store.clock.spell(self._store.clock.boot() + decision.at - wall),
                }
                self._requeue(job, "retry", fields, waiting=Waiting.RETRY_AT, detail=decision.reason, at=decision.at)
            case Action.RELEASE if isinstance(error, SourceChanged):
                self._discard(job)
                self._store.apply(job, ArrivesAgain(problem=str(error)))
            case Action.RELEASE:
                fields = {"problem": str(error)}
                job = self._requeue(
                    *(_given_back(job), "released", fields),
                    waiting=decision.waiting,
                    detail=str(error),
                    at=decision.at,
                    kind=QuietlyRequeued,
                )
                # The next job would only meet the same.
                known = isinstance(error, EnvironmentFault) and self._pauses.pause(
                    decision.waiting or Waiting.PAUSED, error, decision.at, prepared=prepared
                )
                if not known:
                    self._store.log("released", job, fields)
            case Action.BLOCK:
                self._end_job(job, Blocked, error, Case.BLOCKED)
            case Action.FAIL | Action.REJECT:
                self.fail(job, error)

    def requeue_uncharged(self, job: Job, why: str, *, not_before: float = 0.0) -> None:
        """Put a job back into the queue, and give its attempt back."""
        self._requeue(_given_back(job), "released", {"problem": why}, waiting=Waiting.TURN, detail=why, at=not_before)

    def hold_queue(self, error: EnvironmentFault) -> None:
        """Keep jobs from starting for now, since they would meet the same error."""
        wall = self._store.clock.wall()
        decision = retry.decide(error, attempts=0, limit=1, now=wall)
        self._pauses.pause(decision.waiting or Waiting.PAUSED, error, decision.at, prepared=False)

    def fail(self, job: Job, error: PovwatchError) -> None:
        """Give a job up."""
        retry_it = command("retry", clip=job.called)
        again = "" if retry_it in error.todo else f"When that is fixed: {retry_it}"
        self._end_job(job, Failed, error, Case.FAILED, again=again)

    def fail_keeping_artifact(self, job: Job, attempt: Attempt, error: PovwatchError) -> None:
        """Fail a job whose artifact could not be finished. The artifact is kept for another try."""
        where = "was here, and is not there now" if attempt.lost else "is kept"
        what = joined(error.what, f"What was generated {where}: {attempt.artifact['path']}")
        self._fail_kept(replace(job, artifact=attempt.to_json(), promise=None), "finish", what, error.todo)

    def finish_again(self, job: Job, attempt: Attempt) -> None:
        """Finish a failed job's kept artifact again, since somebody asked for it."""
        self._error_files.clear(self._store.apply(job, FinishAgain(artifact=attempt.to_json())))

    def fail_keeping_promise(self, job: Job, error: PovwatchError) -> None:
        """Fail a job whose promise cannot be kept. Its files stay where they are, and the error names them."""
        try:
            promised = Sealed.from_json(job.promise or "").entries
        except JournalError:  # a damaged promise may be the reason
            promised = ()
        files = ", ".join(layout.shown(entry.staged) for entry in promised) or "all that there is"
        folder = self._staging.folder(job.id, job.run_id or "")
        what = joined(error.what, f"What was to be published is kept: {files} in {folder}")
        self._fail_kept(job, "publish", what, error.todo)

    def _fail_kept(self, job: Job, step: str, what: str, todo: str) -> None:
        again, anew = command("retry", clip=job.called), command("retry", "--force", clip=job.called)
        todo = joined(todo, f"To {step} it, without generating: {again}", f"To generate it anew: {anew}")
        self._error_files.write(job, Case.NOT_FINISHED if step == "finish" else Case.NOT_PUBLISHED, what, todo)
        error = str(JobFailed(what, todo))
        self._store.apply(job, FailedKept(error=error, artifact=job.artifact, promise=job.promise, crashes=job.crashes))

    def requeue_after_crash(self, job: Job) -> None:
        """Put a job back into the queue after a crash. The third crash that counts against it fails it."""
        counts = self._store.suspect in {None, job.id}
        job = replace(job, crashes=job.crashes + counts)
        held = job.crashes if counts else min(job.crashes, retry.CRASHES_MAX - 1)
        decision = retry.after_crash(held, self._store.clock.wall())
        if decision.action is Action.FAIL:
            again = command("retry", clip=job.called)
            what = self._with_losses(job, decision.reason)
            self.fail(job, JobFailed(what, f"Look at journalctl -k of that time; then: {again}"))
            return
        # Crashes are counted apart from attempts: the job may not be to blame.
        fields = {"state": str(job.state), "what": "it runs again"}
        waiting, why = decision.waiting, decision.reason
        self._requeue(_given_back(job), "orphaned", fields, waiting=waiting, detail=why, at=decision.at)

    def _requeue_after_loss(self, job: Job, error: RemoteWorkerDied) -> None:
        """Put a job back into the queue whose worker died on another machine. The third loss or crash fails it."""
        job = replace(job, crashes=job.crashes + 1)
        wall = self._store.clock.wall()
        decision = retry.after_loss(error, job.crashes, wall)
        if decision.action is Action.FAIL:
            what = self._with_losses(job, joined(decision.reason, f"The last time: {error.what}"))
            again = command("retry", clip=job.called)
            todo = f"The log has what its workers printed. To try it again: {again}"
            self.fail(_given_back(job), JobFailed(what, todo))
            return
        at = self._store.clock.spell(self._store.clock.boot() + decision.at - wall)
        fields = {"problem": error.what, "at": at}
        waiting, why = decision.waiting, decision.reason
        self._requeue(_given_back(job), "worker-died", fields, waiting=waiting, detail=why, at=decision.at)

    def _with_losses(self, job: Job, what: str) -> str:
        """`what`, and each crash and loss before the last one that counts against a job, if workers were lost."""
        events = [event for event in self._store.journal.events(job.id) if event.event in {"worker-died", "orphaned"}]
        before = events[1 - job.crashes :] if job.crashes > 1 else []
        if not any(event.event == "worker-died" for event in before):
            return what
        told = [str(event.data.get("problem") or "The daemon or the machine went down.") for event in before]
        return joined(what, "Before that:", *told)

    def give_up(self, job: Job, error: PovwatchError) -> None:
        """End a job that povwatch itself failed at. Its files are kept if its result was made."""
        if job.state is JobState.CHECKING and job.artifact and (attempt := readable_attempt(job.artifact)) is not None:
            self.fail_keeping_artifact(job, attempt, error)
        elif job.state is JobState.PUBLISHING or (job.state is JobState.CHECKING and job.artifact):
            self.fail_keeping_promise(job, error)
        else:
            self.fail(job, error)

    def cancel(self, job: Job, why: str) -> None:
        """Withdraw a job."""
        self._discard(job, entirely=True)
        self._error_files.clear(job)
        self._store.apply(job, Cancelled(why=why, source_stat=job.source_stat))

    def _excused(self, job: Job, error: PovwatchError) -> PovwatchError:
        """The error that counts. If the attempt's files were taken away, that is the cause, whatever `error` says."""
        # A check reads povwatch's own folder: a file missing there says nothing about the clip in inputs/.
        lost = isinstance(error, SourceChanged) and job.state is JobState.CHECKING
        if job.run_id is None or not (lost or isinstance(error, (AttemptFailed, FinishFailed, NotAVideo, JobFailed))):
            return error
        outputs = self._staging.outputs
        try:
            with private.opened(str(self._staging.folder(job.id, job.run_id))):
                if not lost:
                    return error
        except OSError:
            return error
        except OutputsTaken as taken:
            return taken
        except OutputsAway:
            pass
        return OutputsAway(
            f"The files of this attempt went away while it ran, and with them the work: {error.what}",
            f"Is the disk of {outputs} mounted? Nobody but povwatch may remove what is in {outputs}/.povwatch.",
        )

    def _requeue(
        self,
        job: Job,
        event: str,
        fields: Mapping[str, object],
        *,
        waiting: Waiting | None,
        detail: str,
        at: float,
        kind: type[Requeued] = Requeued,
    ) -> Job:
        """Put a job back into the queue, with as many attempts and crashes as `job` says."""
        self._discard(job)
        change = kind(
            event_name=event,
            fields=fields,
            waiting=waiting,
            detail=detail,
            not_before=at,
            attempts=job.attempts,
            crashes=job.crashes,
        )
        return self._store.apply(job, change)

    def _end_job(self, job: Job, end: type[Failed], error: PovwatchError, case: Case, *, again: str = "") -> None:
        if self._publish_another(job, error):
            return
        self._discard(job, entirely=True)
        todo = joined(error.todo or f"More about it: {command('show', clip=job.called)}", again)
        self._error_files.write(job, case, error.what, todo)
        self._store.apply(job, end(error=str(error)))

    def _publish_another(self, job: Job, error: PovwatchError) -> bool:
        """Publish the best of the other seeds after one that failed for good; False if there is none."""
        if job.state not in {JobState.RUNNING, JobState.CHECKING}:
            return False
        over = [one for one in tries_of(job).over if one.run_id != job.run_id and one.attempt]
        left = [one for one in over if not attempt_of(one).lost]
        if not left:
            return False
        self._discard(job)
        chosen = best(plan_for(self._config.quality, attempt_of(left[0])), left)
        ended = TriesEnded(
            problem=error.what,
            seed=chosen.seed,
            run_id=chosen.run_id,
            artifact=attempt_of(chosen).to_json(),
            tries=Tries(tuple(left), ended=str(error)).to_json(),
        )
        self._store.apply(job, ended)
        return True

    def _discard(self, job: Job, *, entirely: bool = False) -> None:
        """Delete the attempt's files; at the job's end, its checkpoints too."""
        try:
            if entirely:
                self._staging.delete_job(job.id)
            elif job.run_id is not None:
                self._staging.delete_attempt(job.id, job.run_id)
        except PovwatchError:
            return  # outputs/ is away: swept at the next start


def _given_back(job: Job) -> Job:
    """The job with its attempt given back."""
    return replace(job, attempts=max(job.attempts - 1, 0))
