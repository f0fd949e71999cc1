"""The results stage takes a generated artifact to `done`: finish, check, seal, promise, publish.

The COMMITs between the steps make it reliable: a promise is journalled before anything is visible, and from then on
inference never runs again for that job.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from fractions import Fraction
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from povwatch.attempt import soundtrack
from povwatch.attempt.attempt import Attempt, readable_attempt
from povwatch.attempt.finishing import ScoringOptions
from povwatch.attempt.judging import attempt_of, plan_for
from povwatch.core import layout, retry
from povwatch.core.background import JobWork
from povwatch.core.changes import CrashCounted, Done, FinishRetry, Passed, PromisedAnew, StepPutOff, TryOver
from povwatch.core.errors import (
    CheckFailed,
    ConfigError,
    EnvironmentFault,
    FinishFailed,
    OutputsAway,
    OutputsNotWritable,
    OutputsTaken,
    PovwatchError,
    WriteFailed,
)
from povwatch.core.events import say
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.machine_faults import Place, retry_times
from povwatch.core.mailbox import Gauge
from povwatch.core.quality import failed, seed_of, verdict
from povwatch.core.retry import waiting_for
from povwatch.core.scores import HANDS, listed
from povwatch.core.stage import Mishap, Stage
from povwatch.core.unforeseen import Unforeseen, translate_unforeseen
from povwatch.core.units import spell_duration, spell_pace, spell_rate
from povwatch.files import private
from povwatch.files.free_space import MEASURE_EVERY
from povwatch.media.errors import MediaStopped
from povwatch.media.info import Checked, Scored, SoundTrack
from povwatch.publish import Published, PublishStopped, Sealed, TargetTaken
from povwatch.results.sealing import Finished, clear, finish_and_seal, keep_promise, seal_anew

if TYPE_CHECKING:
    from povwatch.attempt.failed import FailedAttempts
    from povwatch.config.settings import Config
    from povwatch.core.background import Background
    from povwatch.core.quality import Plan, Tries
    from povwatch.files.free_space import FreeSpace
    from povwatch.hooks.runner import HookRunner
    from povwatch.journal.store import JobStore
    from povwatch.publish import Publisher
    from povwatch.publish.outputs_watch import OutputsWatch
    from povwatch.results.source_archive import SourceArchive

AGAIN = 30.0
"""Seconds until a failed step is tried again, if machine_faults.TABLE does not have its cause."""

READS_MAX = 3
"""After so many disk errors in a row while it is finished, the artifact is generated again."""

BACK_WITHIN = 10.0
"""Seconds for a missing private folder to come back while outputs/ is there. Another machine may see a rename late;
that must not cost a second generation.
"""

FINISHED = "finished"
"""The step of its work in the background, see JobWork."""


class Where(StrEnum):
    """Where the artifact is while a step is postponed, as a sentence."""

    KEPT = "What was generated is kept."
    AWAY = "What was generated is not there now; it is used when it is back with outputs/."
    GONE = f"If it is not back in {BACK_WITHIN:.0f} s it is generated again; nothing is charged."
    PROMISED = "Nothing is lost."
    UNKNOWN = ""
    """The error says that it is missing."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """A step that is repeated later."""

    at: float
    """When, on the boot clock."""
    attempt: Attempt | None = None
    """What is finished and checked then, with what earlier tries have left; None if a promise is kept then."""


class ResultsStage(Stage):
    """Takes jobs from `checking` to `done`, and clears outputs/.povwatch after jobs that ended, however they ended."""

    states = (JobState.CHECKING, JobState.PUBLISHING)

    def __init__(  # nine: a job's disk, private files, hooks and clip come together in its last stage
        self,
        config: Config,
        *,
        store: JobStore,
        publisher: Publisher,
        background: Background,
        failed_attempts: FailedAttempts,
        archive: SourceArchive,
        free_space: FreeSpace,
        outputs_watch: OutputsWatch,
        hooks: HookRunner,
    ) -> None:
        self._config = config
        self._scoring = scoring_options(config)
        self._store = store
        self._publisher = publisher
        self._background = background
        self._failed_attempts = failed_attempts
        self._archive = archive
        self._free_space = free_space
        self._outputs_watch = outputs_watch
        self._hooks = hooks
        self._results: dict[int, tuple[Sealed, Published]] = {}
        """Published jobs whose `after` hooks are not over."""
        self._postponed: dict[int, Postponed] = {}
        """By their jobs."""
        self._cancelled: dict[int, str] = {}
        self._put_offs: Counter[int] = Counter()
        """How often in a row a job's step was put off because of the machine."""
        self._gone_since: dict[int, float] = {}
        """Jobs whose private folder is missing although outputs/ is there: since when, on the boot clock."""
        self._gauges: dict[int, Gauge] = {}
        """Progress of finishing, checking and scoring."""

    # -- the daemon's side

    def enter(self, job: Job) -> None:
        """See Stage. Finish and check the artifact that a worker made."""
        self._check(job, Attempt.from_json(job.artifact or "{}"))

    def ended(self, job: Job) -> None:
        """See JobListener. Clear the job's private folders, and move its clip if the configuration asks for that."""
        self._results.pop(job.id, None)
        if job.state is JobState.DONE:
            self._move_clip(job)  # also if it was `done-already`
        elif job.state is JobState.CANCELLED:  # it may have been the last look that others have waited for
            done = (other for other in self._store.all_looks(job.path) if other.state is JobState.DONE)
            if (last := next(done, None)) is not None:
                self._move_clip(last)
        # One that was never claimed left nothing: a hook's files are deleted with it.
        if job.engine is not None and not job.kept:
            self._clear(job.id)

    def resume(self, job: Job) -> str:
        """See Stage. A promise is kept. An artifact is checked again if it still exists; if not, the job runs again."""
        if job.state is JobState.PUBLISHING:
            say("orphaned", job, what="its promise is kept now")
            self._publish(job)
            return "published"
        attempt = Attempt.from_json(job.artifact or "{}") if job.artifact else None
        if attempt is None or (attempt.lost and not private.is_foreign(attempt.folder)):
            self._failed_attempts.requeue_after_crash(job)
            return "to run again"
        crashed = self._store.crashed and self._store.suspect in {None, job.id}
        crashes = job.crashes + crashed
        if crashed and crashes >= retry.CRASHES_MAX:
            error = FinishFailed(retry.after_crash(crashes, 0.0).reason, "Look at journalctl -k.")
            self._failed_attempts.fail_keeping_artifact(replace(job, crashes=crashes), attempt, error)
            return "given up"
        say("orphaned", job, what="its artifact is checked again")
        self._check(self._store.apply(job, CrashCounted(crashes=crashes)), attempt)
        return "checked again"

    def try_again(self, mishap: Mishap) -> None:
        """See Stage."""
        job, error = mishap.job, mishap.error
        if job.state is JobState.PUBLISHING:
            self._publish_later(job, error, self._store.clock.boot() + mishap.pause)
        elif not job.artifact:
            self._failed_attempts.end(job, error)
        elif (attempt := readable_attempt(job.artifact)) is not None:
            self._failed(job, attempt, error)
        else:  # the journal's record is damaged, so no try could succeed
            self.give_up(job, error)

    def give_up(self, job: Job, error: PovwatchError) -> None:
        """See Stage. The job's files are kept."""
        self._failed_attempts.give_up(job, error)

    def cancel(self, job: Job, why: str) -> None:
        """See Stage. A job that is being checked ends soon; a promise is kept all the same."""
        if job.state is JobState.PUBLISHING:
            return
        waits = self._postponed.pop(job.id, None) is not None
        if waits or not self._background.busy(JobWork(job.id, FINISHED)):
            self._failed_attempts.cancel(job, why)
        else:
            self._cancelled[job.id] = why
            self._background.cancel(JobWork(job.id, FINISHED))

    def progress(self, job: Job) -> tuple[str, float]:
        """What is done to a generated result at present (finishing, checking, scoring), and its progress, 0 to 1."""
        gauge = self._gauges.get(job.id)
        return (gauge.what, gauge.fraction) if gauge else ("finishing", 0.0)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return min((postponed.at for postponed in self._postponed.values()), default=None)

    def tick(self, now: float) -> None:
        """Repeat the steps that are due, and end published jobs whose hooks are over."""
        if self._outputs_watch.came_back():
            self._clear_all()
            self._hasten_all()
        for job_id in list(self._results):
            try:
                self._end_published(job_id)
            except Exception as error:  # noqa: BLE001 - as below
                self._store.mishaps.charge(job_id, "ended", error)
        for job_id in [job_id for job_id, postponed in self._postponed.items() if postponed.at <= now]:
            postponed = self._postponed.pop(job_id)
            try:
                self._repeat(self._store.job(job_id), postponed)
            except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
                self._store.mishaps.charge(job_id, "repeated a step of", error)

    def hasten(self, job: Job) -> bool:
        """Make this job's postponed step due; False if there is none."""
        if job.id not in self._postponed:
            return False
        self._postponed[job.id] = replace(self._postponed[job.id], at=0.0)
        return True

    # -- the steps

    def _check(self, job: Job, attempt: Attempt) -> None:
        """Finish and check a job that is `checking`."""
        full = self._free_space.lacking()
        if full is not None:
            self._check_later(job, attempt, full, MEASURE_EVERY, Where.AWAY if attempt.lost else Where.KEPT)
            return
        gauge = self._gauges[job.id] = Gauge("finishing")
        plan = plan_for(self._config.quality, attempt)
        self._background.submit(
            JobWork(job.id, FINISHED),
            partial(self._checked, job, attempt),
            finish_and_seal,
            *(self._publisher, job, attempt),
            gauge=gauge,
            options=self._scoring._replace(scores=self._scoring.scores or plan.judges, judged=plan.judges),
            plan=plan,
            keep_rejected=self._config.quality.keep_rejected,
            pattern=self._config.publish.layout,
            started_at=self._started(job),
        )

    def _checked(self, job: Job, attempt: Attempt, outcome: Finished | Exception) -> None:
        why = self._cancelled.pop(job.id, None)
        self._gauges.pop(job.id, None)
        if why is not None:
            self._failed_attempts.cancel(job, why)
        elif isinstance(outcome, (MediaStopped, PublishStopped)):
            return  # povwatch stops: the next start repeats this step with the kept artifact
        elif isinstance(outcome, Exception):
            error = translate_unforeseen(outcome, "while it was checked", Place.FINISH, attempt.folder)
            if attempt.gone and not isinstance(error, OutputsTaken):
                self._missing(job, attempt, error)
                return
            self._gone_since.pop(job.id, None)
            kept = isinstance(error, OutputsTaken) or not attempt.lost
            if isinstance(error, WriteFailed) and self._put_offs[job.id] >= READS_MAX:
                kept = False  # the disk cannot read it: generate it again
            if isinstance(error, EnvironmentFault) and kept:
                self._check_later(job, attempt, error)
            elif isinstance(error, EnvironmentFault | CheckFailed) or not kept:
                self._put_offs.pop(job.id, None)
                self._failed_attempts.end(job, error, prepared=True)
            else:
                self._failed(job, attempt, error)
        else:
            self._put_offs.pop(job.id, None)
            self._gone_since.pop(job.id, None)
            self._finished(job, plan_for(self._config.quality, attempt), outcome)

    def _finished(self, job: Job, plan: Plan, outcome: Finished) -> None:
        """Publish what was sealed, or have another seed tried."""
        if outcome.sealed is None:
            self._try_another(job, plan, outcome)
            return
        checked, sealed, attempt, tries = outcome.checked, outcome.sealed, outcome.attempt, outcome.tries
        fields = {
            "frames": checked.frames,
            "shape": f"{checked.width}x{checked.height}",
            "rate": spell_rate(Fraction(checked.rate)),
            "pace": spell_pace(Fraction(checked.rate), constant=attempt.prepared.get("constant", True)),
            "duration": spell_duration(checked.duration),
            "sound": f"sound {checked.audio}" if checked.audio else "no sound",
        } | {"numbers": checked.to_json(), "scores": attempt.scored.get("scores") or {}}
        soundtrack.log_problems(self._store, job, attempt.sound)
        with self._store.together():
            if sealed.run_id != job.run_id:  # the last seed is not the best
                self._note_use(job, tries)
            passed = Passed(
                fields=fields,
                run_id=sealed.run_id,
                promise=sealed.to_json(),
                artifact=attempt.to_json(),
                tries=tries.published(plan, sealed.run_id).to_json() if tries.over else None,
            )
            job = self._store.apply(job, passed)
        for key, problem in attempt.lost_controls.items():
            say("control-lost", job, key=key, problem=problem)
        self._log_scores(job, Scored.from_json(attempt.scored))
        self._log_verdict(job, plan, tries)
        self._publish(job)

    def _try_another(self, job: Job, plan: Plan, outcome: Finished) -> None:
        """Put a job back into the queue for its next seed. The files of this one stay."""
        tries, spec = outcome.tries, outcome.attempt.frozen
        last, number = tries.over[-1], len(tries.over)
        self._log_scores(job, Scored.from_json(outcome.attempt.scored))
        following = seed_of(spec.seed, 1)
        fields = {
            "number": number,
            "most": plan.most,
            "seed": last.seed,
            "verdict": verdict(plan, last),
            "next": following,
            "scores": last.scores,
        }
        detail = f"try {number + 1} of {plan.most} is next, with seed {following}; {verdict(plan, last)}"
        with self._store.together():
            self._note_use(job, tries)
            self._store.apply(job, TryOver(fields=fields, detail=detail, tries=tries.to_json()))

    def _note_use(self, job: Job, tries: Tries) -> None:
        """Journal what the last try has used of the GPU; the job's row has only that of the best."""
        made = attempt_of(tries.over[-1])
        if made.gpu:
            used = made.gpu | {"seconds": made.seconds.get("generate")}
            self._store.journal.note(job, "gpu-use", self._store.clock.wall(), used)

    def _log_verdict(self, job: Job, plan: Plan, tries: Tries) -> None:
        if not plan.judges:
            return
        chosen = next(one for one in tries.over if one.run_id == job.run_id)
        many = f"{len(tries.over)} of {plan.most} seeds tried"
        event = "judged-bad" if failed(plan, chosen.scores) else "judged"
        say(event, job, tries=many, seed=chosen.seed, verdict=verdict(plan, chosen))

    def _log_scores(self, job: Job, scored: Scored) -> None:
        if scored.problem:
            asked = ["scores"] * self._scoring.scores + ["contact sheet"] * self._scoring.sheet
            say("scores-failed", job, what=" and ".join(asked), problem=scored.problem)
        elif scored.scores or scored.missing:
            texts = listed(scored.scores, scored.missing)
            numbers = {"numbers": scored.scores, "missing": scored.missing}
            say("scored", job, scores=", ".join(f"{name} {text}" for name, text in texts), **numbers)

    def _missing(self, job: Job, attempt: Attempt, error: PovwatchError) -> None:
        """Handle a missing private folder, which held the artifact.

        While outputs/ is away both may come back. If outputs/ is there, the job runs again after BACK_WITHIN.
        """
        if not isinstance(error, OutputsAway):
            error = OutputsAway(f"{attempt.folder} is not there.", "Nobody but povwatch may remove or rename it.")
        if self._outputs_watch.refuses(self._store.clock.boot()):
            self._gone_since.pop(job.id, None)
            self._check_later(job, attempt, error, where=Where.AWAY)
            return
        now = self._store.clock.boot()
        left = self._gone_since.setdefault(job.id, now) + BACK_WITHIN - now
        if left > 0.0:
            self._check_later(job, attempt, error, min(left, self._pause(job, error)), Where.GONE)
        else:
            del self._gone_since[job.id]
            self._put_offs.pop(job.id, None)
            self._failed_attempts.end(job, error, prepared=True)

    def _failed(self, job: Job, attempt: Attempt, error: PovwatchError) -> None:
        """Try again to finish a good artifact. After the last try it is kept."""
        attempt.unfinished += 1
        wall, boot = self._store.clock.wall(), self._store.clock.boot()
        limit = self._config.engine.attempts
        decision = retry.finish_again(error, failures=attempt.unfinished, limit=limit, now=wall)
        if decision.action is retry.Action.FAIL:
            self._failed_attempts.fail_keeping_artifact(job, attempt, error)
            return
        if isinstance(error, FinishFailed) and attempt.unfinished == limit - 1 and attempt.sound.get("path"):
            # The sound was verified. In case it is at fault all the same, the last try leaves it out.
            problem = f"The result could not be finished with its sound. {error.what}"
            attempt.sound = SoundTrack(problem=problem).to_json()
        when = boot + decision.at - wall
        again = FinishRetry(
            problem=str(error),
            at=self._store.clock.spell(when),
            waiting=decision.waiting,
            detail=decision.reason,
            artifact=attempt.to_json(),
        )
        self._store.apply(job, again)
        self._postponed[job.id] = Postponed(when, attempt)

    def finish_kept(self, job: Job) -> bool:
        """Finish a failed job's kept artifact again; False if the artifact is gone."""
        if not job.kept:
            return False
        attempt = Attempt.from_json(job.artifact or "{}")
        if attempt.lost:
            return False
        attempt.unfinished = 0
        if attempt.sound.get("path") is None:
            attempt.sound = {}  # the last try left it out
        self._failed_attempts.finish_again(job, attempt)
        return True

    def _repeat(self, job: Job, postponed: Postponed) -> None:
        if postponed.attempt is None:
            self._publish(job)
        else:
            self._check(job, postponed.attempt)

    def _hasten_all(self) -> None:
        """Make all postponed steps due."""
        self._postponed = {job_id: replace(postponed, at=0.0) for job_id, postponed in self._postponed.items()}

    def _check_later(
        self,
        job: Job,
        attempt: Attempt,
        error: EnvironmentFault,
        pause: float | None = None,
        where: Where = Where.KEPT,
    ) -> None:
        """Postpone finishing the artifact, by `pause` seconds or machine_faults.py's for this error."""
        when = self._store.clock.boot() + (self._pause(job, error) if pause is None else pause)
        self._wait(job, "check-later", error, when, where)
        self._postponed[job.id] = Postponed(when, attempt)

    def _publish(self, job: Job) -> None:
        """Keep a promise. Safe to repeat after any interruption."""
        sealed = Sealed.from_json(job.promise or "")
        self._background.submit(
            JobWork(job.id, "published"),
            partial(self._published, job, sealed),
            keep_promise,
            self._publisher,
            sealed,
        )

    def _published(self, job: Job, sealed: Sealed, outcome: Published | Exception) -> None:
        if isinstance(outcome, TargetTaken):
            self._reseal(job, sealed)
        elif isinstance(outcome, Exception) and not isinstance(outcome, (PovwatchError, OSError)):
            raise outcome
        elif isinstance(outcome, Exception):
            # The promise stands, whatever the error.
            error = translate_unforeseen(
                outcome, "while it was published", Place.PUBLISH, str(self._config.paths.outputs)
            )
            when = self._store.clock.boot() + self._pause(job, error)
            self._publish_later(job, error, when)
        else:
            self._results[job.id] = (sealed, outcome)
            self._hooks.start_after_hooks(job)
            self._end_published(job.id)

    def _end_published(self, job_id: int) -> None:
        """End a published job if its hooks are over."""
        job = self._store.job(job_id)
        failed = self._hooks.after_hooks_failures(job)
        if failed is None:
            return
        sealed, published = self._results.pop(job_id)
        self._put_offs.pop(job_id, None)
        self._move_clip(job)
        output = layout.shown(sealed.output)
        took = self._store.clock.wall() - self._store.journal.events(job_id)[0].at
        done = Done(
            took=spell_duration(took),
            shown=self._config.paths.outputs / output,
            output=output,
            note=published.note,
            error=failed or None,
        )
        self._store.apply(job, done)

    def _move_clip(self, job: Job) -> None:
        """Move the clip of a job that is done, if the configuration asks for that."""
        others = [other for other in self._store.all_looks(job.path) if other.look != job.look]
        self._archive.move(job, others, self._store.journal.holder)

    def _publish_later(self, job: Job, error: PovwatchError, when: float) -> None:
        # If the private folder is missing, the error says so, and nobody knows whether it comes back.
        away = isinstance(error, OutputsAway) and not isinstance(error, OutputsTaken)
        self._wait(job, "publish-later", error, when, Where.UNKNOWN if away else Where.PROMISED)
        self._postponed[job.id] = Postponed(when)

    def _pause(self, job: Job, error: PovwatchError) -> float:
        """Seconds until a step is tried again. If every job would meet the same error, the queue waits too."""
        self._put_offs[job.id] += 1
        if isinstance(error, OutputsNotWritable):  # outputs_watch itself sees when it is away
            self._failed_attempts.hold_queue(error)
        again = retry_times(error)
        return again.pause(self._put_offs[job.id]) if again else AGAIN

    def _wait(self, job: Job, event: str, error: PovwatchError, when: float, where: Where) -> None:
        """Note why a step is postponed; the same reason is logged once, however often it is tried."""
        waiting = waiting_for(error) if isinstance(error, EnvironmentFault) else Waiting.PAUSED
        if isinstance(error, Unforeseen) or where is Where.GONE:
            waiting = Waiting.RETRY_AT
        if (job.waiting_on, job.detail) == (waiting, str(error)):
            return
        job = self._store.apply(job, StepPutOff(event_name=event, waiting=waiting, detail=str(error)))
        problem = f"{error} {where}".rstrip()
        say(event, job, problem=problem, at=self._store.clock.spell(when))

    def _reseal(self, job: Job, sealed: Sealed) -> None:
        """Promise the next free names: somebody took one between the promise and publishing."""
        attempt = Attempt.from_json(job.artifact or "{}")
        self._background.submit(
            JobWork(job.id, "published"),
            partial(self._resealed, job, sealed),
            seal_anew,
            *(self._publisher, sealed, job, attempt, self._found(job)),
            plan=plan_for(self._config.quality, attempt),
            pattern=self._config.publish.layout,
            started_at=self._started(job),
        )

    def _resealed(self, job: Job, sealed: Sealed, outcome: Sealed | Exception) -> None:
        if isinstance(outcome, Exception):
            self._published(job, sealed, outcome)
        else:
            self._publish(self._store.apply(job, PromisedAnew(promise=outcome.to_json())))

    # -- left-over private files

    def _clear_all(self) -> None:
        """Clear after every job that ended while outputs/ was away.

        Job numbers are never reused, so nothing that runs is touched, however late this is.
        """
        with suppress(PovwatchError):
            for job_id in {job_id for job_id, _ in self._publisher.staging.attempts()}:
                job = self._store.journal.job(job_id)
                if job is None or (job.ended and not job.kept):
                    self._clear(job_id)

    def _clear(self, job_id: int) -> None:
        """Delete a job's private folders."""
        key = JobWork(job_id, "cleared the files of")
        if not self._background.busy(key):
            self._background.submit(key, self._cleared, clear, self._publisher.staging, job_id)

    def _cleared(self, _outcome: object) -> None:
        """Do nothing: the next start deletes what could not be deleted."""

    # -- from the journal

    def _started(self, job: Job) -> str:
        starts = [event.at for event in self._store.journal.events(job.id) if event.event == "started"]
        return datetime.fromtimestamp(starts[-1] if starts else job.created_at, UTC).isoformat(timespec="seconds")

    def _found(self, job: Job) -> Checked:
        (found,) = [e.data["numbers"] for e in self._store.journal.events(job.id) if e.event == "checked"][-1:]
        return Checked.from_json(found)


def scoring_options(config: Config) -> ScoringOptions:
    """How the configuration has results scored. Hands are scored where MediaPipe is installed, or a model is named.

    Raises:
        ConfigError: a score of hands is to be judged, and cannot be measured.
    """
    model, installed = config.quality.hands_model, find_spec("mediapipe") is not None
    judged = next((rule.score for rule in config.quality.rules if rule.score in HANDS), "")
    if judged and not (model and installed):
        lacks = "quality.hands_model names no file" if installed else "MediaPipe is not installed"
        todo = "docs/scores.md says how to have it; or take the line out."
        raise ConfigError(f"{config.origin}: quality.{judged} is to be judged, and {lacks}.", todo)
    hands = bool(model) or installed
    return ScoringOptions(config.quality.scores, config.publish.sheet, hands_model=model if hands else None)
