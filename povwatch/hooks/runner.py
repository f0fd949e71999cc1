"""Decides when each hook of each job runs. docs/hooks.md gives the reasons.

1. `before` hooks run while a job is queued: nobody's grace is cut short, and no worker waits for them. The job starts
   once all of them are over.
2. `after` hooks run while a job is publishing, when its result is visible. They cannot take it back.
3. A hook runs for one clip at a time, in the queue's order; different hooks run in parallel.
4. A run that nobody needs any more is cancelled: the clip changed, the job ended, or the hook names {spec} and the job
   went back to its grace. Nothing is charged then, nor when povwatch is stopped.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.attempt.attempt import Attempt
from povwatch.core import retry
from povwatch.core.background import Background, JobWork
from povwatch.core.changes import HookChange, HookWait, PutOff
from povwatch.core.errors import HookUnavailable, JobFailed, PovwatchError, SourceChanged
from povwatch.core.events import say
from povwatch.core.hook_record import HookRecord, HookState
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.machine_faults import Place, retry_times
from povwatch.core.mailbox import Mailbox
from povwatch.core.sentences import joined
from povwatch.core.stage import JobListener
from povwatch.core.unforeseen import translate_unforeseen
from povwatch.core.units import spell_duration
from povwatch.hooks.plan import AFTER, BEFORE, current, next_hook
from povwatch.hooks.run import HookRequest, Line, Outcome, perform
from povwatch.media.errors import MediaStopped
from povwatch.publish import Sealed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from povwatch.attempt.failed import FailedAttempts
    from povwatch.config.hooks import Hook
    from povwatch.config.settings import Config
    from povwatch.core.blockers import Blockers
    from povwatch.journal.store import JobStore
    from povwatch.publish.staging import Staging
    from povwatch.spec.current import CurrentSpecs

MOMENTS = {JobState.QUEUED: BEFORE, JobState.PUBLISHING: AFTER}
"""The states in which hooks run, to when that is."""

CHANGED_PAUSE = 1.0
"""Seconds until a changed clip is looked at again; by then it usually arrives anew."""

STOPPED = "povwatch stops"

RAN = "ran a hook of"
"""The step of its work in the background, see JobWork."""


@dataclass(slots=True)
class _ActiveRun:
    """A run under way."""

    request: HookRequest
    record: HookRecord
    why: str = ""
    """Why it was cancelled; empty if it was not."""

    @property
    def key(self) -> JobWork:
        """Its key in the background."""
        return JobWork(self.record.job, RAN, self.record.hook)


class HookRunner(JobListener):
    """Runs the hooks, for jobs that other stages own."""

    def __init__(
        self,
        config: Config,
        *,
        store: JobStore,
        specs: CurrentSpecs,
        staging: Staging,
        blockers: Blockers,
        failed_attempts: FailedAttempts,
        wake: Callable[[], None],
    ) -> None:
        self._config = config
        self._hooks = config.hooks
        self._store = store
        self._specs = specs
        self._blockers = blockers
        self._staging = staging
        self._wake = wake
        self._failed_attempts = failed_attempts
        self._background = Background(wake, threads=max(1, len(self._hooks)), broken=store.mishaps.work_failed)
        self._lines: Mailbox[Line] = Mailbox(wake)
        self._active: dict[str, _ActiveRun] = {}
        """By the hook's name."""
        self._records: dict[int, dict[str, HookRecord]] = {}
        """The journal's records of the hooks that have begun, by job and hook's name."""
        self._refusals: Counter[int] = Counter()
        """How often in a row the machine refused something that a job's hook needs."""
        self._published: set[int] = set()
        """Published jobs whose `after` hooks are not over."""
        self._unable: dict[str, tuple[float, str]] = {}
        """Hooks whose program cannot be started: until when (boot clock), and why."""

    # -- the daemon's side

    @property
    def idle(self) -> bool:
        """Whether no hook is under way."""
        return self._background.idle

    def ready(self, job: Job) -> bool:
        """Whether a queued job has no hook left to run before it."""
        return not self._hooks or next_hook(self._hooks, BEFORE, job, self._records_of(job)) is None

    def stuck(self, job: Job) -> bool:
        """Whether a job waits for a hook that cannot be started here."""
        hook = self._next(job)
        return hook is not None and hook.name in self._unable and hook.name not in self._active

    def start_after_hooks(self, job: Job) -> None:
        """Run the `after` hooks of a published job, in the next turns. Safe to repeat."""
        self._published.add(job.id)

    def after_hooks_failures(self, job: Job) -> str | None:
        """The failures of a published job's `after` hooks, empty if there are none; None while hooks are to run."""
        if self._next(job) is not None:
            return None
        records = [
            record for hook in self._hooks if hook.when == AFTER and (record := self._records_of(job).get(hook.name))
        ]
        return joined(*(f"The hook {r.hook} failed: {r.error}" for r in records if r.state is HookState.FAILED))

    def ended(self, job: Job) -> None:
        """See JobListener."""
        self._published.discard(job.id)
        self._records.pop(job.id, None)

    def recover(self) -> None:
        """Settle the hooks that ran when povwatch ended."""
        hooks = {hook.name: hook for hook in self._hooks}
        for found in self._store.journal.hooks_interrupted():
            try:
                with self._store.together():
                    self._interrupted(self._store.job(found.job), hooks.get(found.hook), found)
            except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
                self._store.mishaps.charge(found.job, "recovered the hooks of", error)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do. The run stage knows the pauses of queued jobs."""
        clock = self._store.clock
        jobs = map(self._store.job, self._published)
        pauses = [job.not_before - clock.wall() + clock.boot() for job in jobs if job.not_before > clock.wall()]
        return min([*pauses, *(until for until, _ in self._unable.values())], default=None)

    def tick(self, now: float) -> None:
        """Handle output and ends, cancel runs that nobody needs, start the ones that are due."""
        self._log_output()
        self._background.handle_results()
        # If the end of a run could not be handled, its hook must still run again.
        self._active = {name: run for name, run in self._active.items() if self._background.busy(run.key)}
        if not self._hooks:
            return
        for active in self._active.values():
            try:
                if not active.why and (why := self._unwanted(active)):
                    active.why = why
                    self._background.cancel(active.key)
            except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
                self._store.mishaps.charge(active.record.job, "cancelled a hook of", error)
        self._unable = {name: (until, why) for name, (until, why) in self._unable.items() if until > now}
        waiting = [(job, why) for job, why in self._start() if (job.waiting_on, job.detail) != why]
        if waiting:
            with self._store.together():
                for job, (reason, detail) in waiting:
                    self._store.wait(job, reason, detail, quiet=True)

    def stop(self) -> None:
        """Stop all runs; `close` waits for them."""
        for active in self._active.values():
            self._background.cancel(active.key)

    def close(self) -> None:
        """End all runs now; nothing is charged."""
        self.stop()
        self._background.close()
        self._log_output()
        for active in self._active.values():
            with self._store.together():
                self._called_off(self._store.job(active.record.job), active.record, STOPPED)
        self._active.clear()

    # -- from the start of a run to its end

    def _start(self) -> Iterator[tuple[Job, tuple[Waiting, str]]]:
        """Start the runs that are due. Yields the jobs that wait, and for what."""
        wall = self._store.clock.wall()
        blocker, fault = self._blockers.starting(), self._blockers.fault()
        busy = {active.record.job for active in self._active.values()}
        for job in self._store.in_state(*MOMENTS):
            if job.state is JobState.PUBLISHING and job.id not in self._published:
                continue
            if job.state is JobState.QUEUED and job.path not in self._store.scope:
                continue
            hook = self._next(job)
            if hook is None or job.id in busy or retry.clamped(job.not_before, wall) > wall:
                continue
            why = blocker if job.state is JobState.QUEUED else fault
            if why is not None:
                yield job, (why.waiting, why.problem)
            elif hook.name in self._unable:
                yield job, (Waiting.HOOK, self._unable[hook.name][1])
            elif hook.name in self._active:
                yield job, (Waiting.HOOK, f"The hook {hook.name} runs for another clip first.")
            else:
                self._try(job, hook)

    def _try(self, job: Job, hook: Hook) -> None:
        try:
            if request := self._request(job, hook):
                self._begin(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
            self._records.pop(job.id, None)  # its records may be of an undone transaction
            if not self._background.busy(JobWork(job.id, RAN, hook.name)):
                self._active.pop(hook.name, None)
            self._store.mishaps.charge(job.id, "started a hook of", error)

    def _request(self, job: Job, hook: Hook) -> HookRequest | None:
        """The request for a run; None if the JSON was edited, held or withdrawn this very moment."""
        source, output = None, None
        if job.state is JobState.QUEUED:
            spec = self._specs.spec_of(job)
            if spec is None:
                return None
            job = self._store.job(job.id)
        else:
            attempt = Attempt.from_json(job.artifact or "{}")
            spec, output = attempt.frozen, Sealed.from_json(job.promise or "").output
            source = Path(attempt.source) if attempt.source else None
        journal = self._store.journal
        ran_before = journal.hook_ran_for(hook.name, job.source_hash)
        filled_for = journal.hook_last_of(hook.name, job.path)
        ran_for_look = hook.once_a_clip and journal.hook_ran_for_look(hook.name, job)
        return HookRequest(hook, job, spec.upstream(), source, output, ran_before, filled_for, ran_for_look)

    def _begin(self, request: HookRequest) -> None:
        job, hook = request.job, request.hook
        known = current(self._records_of(job).get(hook.name), hook, job) or HookRecord(
            job.id, hook.name, HookState.WAITING
        )
        record = dataclasses.replace(
            known,
            state=HookState.RUNNING,
            attempts=known.attempts + 1,
            source_hash=job.source_hash,
            spec_hash=job.spec_hash,
        )
        attempts = {"attempt": record.attempts, "attempts": self._config.engine.attempts}
        fields = {"hook": hook.name, "when": hook.when} | attempts
        waits = HookWait(Waiting.HOOK, f"The hook {hook.name} runs.")
        with self._store.together():
            self._keep(record)
            self._store.apply(job, HookChange(event_name="hook-started", fields=fields, waits=waits))
        active = self._active[hook.name] = _ActiveRun(request, record)
        self._background.submit(
            active.key,
            partial(self._ended, active),
            perform,
            *(request, self._config, self._staging, self._lines),
        )

    def _unwanted(self, active: _ActiveRun) -> str:
        """Why nobody needs a run any more; empty if somebody does."""
        job, was = self._store.job(active.record.job), active.request.job
        if job.ended:
            return f"the clip is {job.state}"
        if job.state is JobState.ARRIVING or job.source_hash != was.source_hash:
            return "the clip changed"
        if "spec" in active.request.hook.placeholders and (job.state, job.spec_hash) != (was.state, was.spec_hash):
            return "the clip went back to its grace"
        return ""

    def _ended(self, active: _ActiveRun, outcome: Outcome | Exception) -> None:
        del self._active[active.record.hook]
        self._log_output()
        try:
            with self._store.together():
                self._journal_end(active, outcome)
        except Exception:
            self._records.pop(active.record.job, None)  # its records are of an undone transaction
            raise
        self._wake()

    def _journal_end(self, active: _ActiveRun, outcome: Outcome | Exception) -> None:
        """Journal how a run ended."""
        hook, record = active.request.hook, active.record
        job = self._store.job(record.job)
        for event, fields in [] if isinstance(outcome, Exception) else outcome.notes:
            self._store.note(job, event, fields)
        why = active.why or self._unwanted(active)
        if why or isinstance(outcome, MediaStopped) or (isinstance(outcome, Outcome) and outcome.called_off):
            self._called_off(job, record, why or STOPPED)
        elif isinstance(outcome, Outcome) and outcome.error is None:
            self._done(job, record, outcome)
        else:
            raised = outcome if isinstance(outcome, Exception) else outcome.error or RuntimeError("no outcome")
            error = translate_unforeseen(raised, f"while the hook {hook.name} ran", Place.HOOK, "the hook's files")
            self._failed(job, hook, record, error)

    # -- what the end of a run means for its job; journalled together with the run's end

    def _done(self, job: Job, record: HookRecord, outcome: Outcome) -> None:
        """The hook succeeded, or did not have to run."""
        self._refusals.pop(job.id, None)
        fields = {"hook": record.hook, "seconds": outcome.seconds}
        state = HookState.SKIPPED if outcome.skipped else HookState.DONE
        self._keep(record, state=state, seconds=outcome.seconds, error=None)
        if outcome.skipped:
            self._go_on(job, "hook-skipped", fields | {"why": outcome.skipped})
        else:
            self._go_on(job, "hook-done", fields | {"took": spell_duration(outcome.seconds)})

    def _called_off(self, job: Job, record: HookRecord, why: str) -> None:
        """The run was cancelled; nothing is charged."""
        self._keep(_uncharged(record))
        self._store.note(job, "hook-off", {"hook": record.hook, "why": why})

    def _failed(self, job: Job, hook: Hook, record: HookRecord, error: PovwatchError) -> None:
        """The hook failed: retry.py decides what follows."""
        clock, attempts = self._store.clock, self._config.engine.attempts
        decision = retry.decide(error, attempts=record.attempts, limit=attempts, now=clock.wall())
        at = decision.at + (CHANGED_PAUSE if isinstance(error, SourceChanged) else 0.0)
        if decision.action is retry.Action.RELEASE and (again := retry_times(error)):
            self._refusals[job.id] += 1
            at = max(at, clock.wall() + again.pause(self._refusals[job.id]))
        else:
            self._refusals.pop(job.id, None)
        on_boot = clock.boot() + at - clock.wall()
        fields = {"hook": hook.name, "problem": str(error), "at": clock.spell(on_boot)}
        if decision.action is retry.Action.RELEASE:
            self._keep(_uncharged(record), error=str(error))
            if isinstance(error, HookUnavailable):
                detail = f"The hook {hook.name} cannot be started: {error}"
                self._go_on(job, "hook-unavailable", fields, HookWait(Waiting.HOOK, detail, None))
                self._unable[hook.name] = (on_boot, detail)
            else:
                self._go_on(job, "hook-later", fields, HookWait(decision.waiting, str(error), at))
        elif decision.action is retry.Action.RETRY:
            self._keep(record, state=HookState.WAITING, error=str(error))
            detail = f"The hook {hook.name} failed: {decision.reason}"
            fields = fields | {"attempt": f"{record.attempts} of {attempts}"}
            self._go_on(job, "hook-retry", fields, HookWait(Waiting.RETRY_AT, detail, decision.at))
        else:
            self._keep(record, state=HookState.FAILED, error=str(error))
            self._give_hook_up(job, hook, error)

    def _interrupted(self, job: Job, hook: Hook | None, record: HookRecord) -> None:
        """The hook ran when povwatch ended. Attempts do not include such crashes."""
        crashes = record.crashes + 1
        decision = retry.after_crash(crashes, self._store.clock.wall())
        given_up = decision.action is retry.Action.FAIL
        state = HookState.FAILED if given_up else HookState.WAITING
        self._keep(_uncharged(record), state=state, crashes=crashes, error=decision.reason)
        if hook is None or job.ended:
            return
        say("hook-orphaned", job, hook=hook.name, what="it is given up" if given_up else "it runs again")
        if given_up:
            self._give_hook_up(job, hook, JobFailed(decision.reason, "Look at journalctl -k of that time."))
        elif job.state in MOMENTS:
            self._store.apply(job, PutOff(waiting=Waiting.RETRY_AT, detail=decision.reason, at=decision.at))

    def _give_hook_up(self, job: Job, hook: Hook, error: PovwatchError) -> None:
        """The hook failed for the last time."""
        if hook.when == BEFORE and hook.on_failure == "stop":
            self._failed_attempts.fail(job, JobFailed(f"The hook {hook.name} failed: {error.what}", error.todo))
            return
        follows = "The clip runs without it"
        if hook.when == AFTER:
            more = ", and the hooks behind this one do not run" if hook.on_failure == "stop" else ""
            follows = f"The result stays as it is{more}"
        self._go_on(job, "hook-failed", {"hook": hook.name, "problem": str(error), "follows": follows})

    def _go_on(self, job: Job, event: str, fields: Mapping[str, Any], waits: HookWait | None = None) -> None:
        """Journal and log how a run ended. The job's wait changes only if the job waited on the hook."""
        if job.state not in MOMENTS:  # for example back in its grace
            waits = None
        elif waits is None:
            waits = HookWait(Waiting.TURN if job.state is JobState.QUEUED else None, "")
        self._store.apply(job, HookChange(event_name=event, fields=fields, waits=waits))

    # -- helpers

    def _log_output(self) -> None:
        for line in self._lines.take():
            say("hook-output", self._store.job(line.job), hook=line.hook, line=line.text)

    def _next(self, job: Job) -> Hook | None:
        """The hook that a job waits for."""
        moment = MOMENTS.get(job.state)
        return next_hook(self._hooks, moment, job, self._records_of(job)) if moment and self._hooks else None

    def _records_of(self, job: Job) -> dict[str, HookRecord]:
        """The records of a job's hooks, by name; hooks that have not begun have none."""
        if job.id not in self._records:
            self._records[job.id] = self._store.journal.hooks(job.id)
        return self._records[job.id]

    def _keep(self, record: HookRecord, **changes: Any) -> None:  # noqa: ANN401 - a record's own fields
        """Journal a record."""
        record = dataclasses.replace(record, updated_at=self._store.clock.wall(), **changes)
        self._store.journal.set_hook(record)
        if record.job in self._records:
            self._records[record.job][record.hook] = record


def _uncharged(record: HookRecord) -> HookRecord:
    """The record with its attempt given back."""
    return dataclasses.replace(record, state=HookState.WAITING, attempts=max(record.attempts - 1, 0))
