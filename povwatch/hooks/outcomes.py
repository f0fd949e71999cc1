"""Decides what the end of a hook means for its job, with retry.py; journals it, then logs it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING, Any

from povwatch.core import retry
from povwatch.core.changes import HookChange, HookWait, PutOff
from povwatch.core.errors import HookUnavailable, JobFailed, PovwatchError, SourceChanged
from povwatch.core.events import say
from povwatch.core.hook_record import HookRun, HookState
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.machine_faults import until
from povwatch.core.sentences import joined
from povwatch.core.units import spell_duration
from povwatch.hooks.plan import AFTER, BEFORE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from povwatch.attempt.failed import FailedAttempts
    from povwatch.config.hooks import Hook
    from povwatch.hooks.errand import Outcome
    from povwatch.hooks.records import Records
    from povwatch.journal.store import JobStore

MOMENTS = {JobState.QUEUED: BEFORE, JobState.PUBLISHING: AFTER}
"""The states in which hooks run, to when that is."""

CHANGED_PAUSE = 1.0
"""Seconds until a changed clip is looked at again; by then it usually arrives anew."""


class Outcomes:
    """Handles the ends of runs. A run's end and its job's change are one transaction: see `JobStore.together`."""

    def __init__(self, *, attempts: int, store: JobStore, records: Records, failed_attempts: FailedAttempts) -> None:
        self._attempts = attempts
        self._store = store
        self._records = records
        self._failed_attempts = failed_attempts
        self._refusals: Counter[int] = Counter()
        """How often in a row the machine refused something that a job's hook needs."""

    def done(self, job: Job, hook: Hook, record: HookRun, outcome: Outcome) -> None:
        """The hook succeeded, or did not have to run."""
        self._refusals.pop(job.id, None)
        fields = {"hook": hook.name, "seconds": outcome.seconds}
        state = HookState.SKIPPED if outcome.skipped else HookState.DONE
        self._records.keep(dataclasses.replace(record, state=state, seconds=outcome.seconds, error=None))
        if outcome.skipped:
            self._go_on(job, "hook-skipped", fields | {"why": outcome.skipped})
        else:
            self._go_on(job, "hook-done", fields | {"took": spell_duration(outcome.seconds)})

    def off(self, job: Job, hook: Hook, record: HookRun, why: str) -> None:
        """The run was cancelled; nothing is charged."""
        self._records.keep(_uncharged(record))
        self._store.note(job, "hook-off", {"hook": hook.name, "why": why})

    def failed(self, job: Job, hook: Hook, record: HookRun, error: PovwatchError) -> tuple[float, str] | None:
        """The hook failed.

        Returns:
            If its program cannot be started: until when (boot clock), and why, as sentences.
        """
        clock = self._store.clock
        decision = retry.decide(error, attempts=record.attempts, limit=self._attempts, now=clock.wall())
        at = decision.at + (CHANGED_PAUSE if isinstance(error, SourceChanged) else 0.0)
        if decision.kind is retry.Kind.RELEASE and (again := until(error)):
            self._refusals[job.id] += 1
            at = max(at, clock.wall() + again.pause(self._refusals[job.id]))
        else:
            self._refusals.pop(job.id, None)
        on_boot = clock.boot() + at - clock.wall()
        fields = {"hook": hook.name, "problem": str(error), "at": clock.spell(on_boot)}
        if decision.kind is retry.Kind.RELEASE:
            self._records.keep(dataclasses.replace(_uncharged(record), error=str(error)))
            if isinstance(error, HookUnavailable):
                detail = f"The hook {hook.name} cannot be started: {error}"
                self._go_on(job, "hook-unavailable", fields, HookWait(Waiting.HOOK, detail, None))
                return on_boot, detail
            self._go_on(job, "hook-later", fields, HookWait(decision.waiting, str(error), at))
        elif decision.kind is retry.Kind.RETRY:
            self._records.keep(dataclasses.replace(record, state=HookState.WAITING, error=str(error)))
            detail = f"The hook {hook.name} failed: {decision.reason}"
            fields = fields | {"attempt": f"{record.attempts} of {self._attempts}"}
            self._go_on(job, "hook-retry", fields, HookWait(Waiting.RETRY_AT, detail, decision.at))
        else:
            self._records.keep(dataclasses.replace(record, state=HookState.FAILED, error=str(error)))
            self.give_up(job, hook, error)
        return None

    def interrupted(self, job: Job, hook: Hook | None, record: HookRun) -> None:
        """The hook ran when povwatch ended. Attempts do not include such crashes."""
        crashes = record.crashes + 1
        decision = retry.after_crash(crashes, self._store.clock.wall())
        given_up = decision.kind is retry.Kind.FAIL
        state = HookState.FAILED if given_up else HookState.WAITING
        self._records.keep(dataclasses.replace(_uncharged(record), state=state, crashes=crashes, error=decision.reason))
        if hook is None or job.ended:
            return
        say("hook-orphaned", job, hook=hook.name, what="it is given up" if given_up else "it runs again")
        if given_up:
            self.give_up(job, hook, JobFailed(decision.reason, "Look at journalctl -k of that time."))
        elif job.state in MOMENTS:
            self._store.apply(job, PutOff(waiting=Waiting.RETRY_AT, detail=decision.reason, at=decision.at))

    def give_up(self, job: Job, hook: Hook, error: PovwatchError) -> None:
        """The hook failed for the last time."""
        if hook.when == BEFORE and hook.on_failure == "stop":
            self._failed_attempts.fail(job, JobFailed(f"The hook {hook.name} failed: {error.what}", error.todo))
            return
        follows = "The clip runs without it"
        if hook.when == AFTER:
            more = ", and the hooks behind this one do not run" if hook.on_failure == "stop" else ""
            follows = f"The result stays as it is{more}"
        self._go_on(job, "hook-failed", {"hook": hook.name, "problem": str(error), "follows": follows})

    def sentence(self, job: Job, hooks: Sequence[Hook]) -> str:
        """The failures of a job's `after` hooks, as sentences; empty if there are none."""
        known = [known for hook in hooks if hook.when == AFTER and (known := self._records.of(job).get(hook.name))]
        return joined(*(f"The hook {k.hook} failed: {k.error}" for k in known if k.state is HookState.FAILED))

    def _go_on(self, job: Job, event: str, fields: Mapping[str, Any], waits: HookWait | None = None) -> None:
        """Journal and log how a run ended. The job's wait changes only if the job waited on the hook."""
        if job.state not in MOMENTS:  # for example back in its grace
            waits = None
        elif waits is None:
            waits = HookWait(Waiting.TURN if job.state is JobState.QUEUED else None, "")
        self._store.apply(job, HookChange(how=event, fields=fields, waits=waits))


def _uncharged(record: HookRun) -> HookRun:
    """The record with its attempt given back."""
    return dataclasses.replace(record, state=HookState.WAITING, attempts=max(record.attempts - 1, 0))
