"""Every change of a job, typed: where it takes the job, which of its fields it sets, and what is logged.

A change that ends an attempt clears what the attempt left in the job's row, so that no caller can forget it. The
journal refuses a change that the rules of core/job.py do not allow. `JobStore.apply` makes a change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from povwatch.core.job import Job, JobState, Waiting

if TYPE_CHECKING:
    from collections.abc import Mapping

S = JobState


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of one job."""

    event: ClassVar[str]
    """Under which name it is journalled, and logged if `logged` (core/events.py has the sentence)."""
    logged: ClassVar[bool] = True

    def name(self) -> str:
        """The event's name."""
        return self.event

    def after(self, job: Job) -> Job:
        """The job as it is after the change."""
        raise NotImplementedError

    def log_fields(self) -> Mapping[str, Any]:
        """What the sentence names; journalled with the event."""
        return {}


def _without_attempt(job: Job) -> Job:
    """The job without what an attempt leaves in its row."""
    return replace(job, run_id=None, artifact=None, promise=None)


# -- what a job waits on


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits(Change):
    """It waits on something else than before, in the state that it is in."""

    event: ClassVar[str] = "waiting"
    waiting: Waiting
    detail: str
    """For people, as a sentence."""

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, waiting_on=self.waiting, detail=self.detail)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"waiting": str(self.waiting), "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class StillWaits(Waits):
    """The same, where the log has a line about it already."""

    logged: ClassVar[bool] = False

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class NotBefore(Change):
    """No attempt before a time, in seconds since the epoch."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False
    at: float

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, not_before=self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff(Change):
    """It waits on something until a time at the least, in seconds since the epoch."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False
    waiting: Waiting
    detail: str
    at: float

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, waiting_on=self.waiting, detail=self.detail, not_before=self.at)


# -- what people ask for


@dataclass(frozen=True, slots=True, kw_only=True)
class Go(Change):
    """`povwatch go`."""

    event: ClassVar[str] = "request"
    logged: ClassVar[bool] = False

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, go=True, hold=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoDamaged(Change):
    """`povwatch go --damaged`: whatever decodes of the file with this signature is run."""

    event: ClassVar[str] = "request"
    logged: ClassVar[bool] = False
    signature: bytes

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, damaged=self.signature, source_stat=self.signature, go=True, hold=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StillDamaged(Change):
    """A clip that runs again is the file for which `povwatch go --damaged` was said."""

    event: ClassVar[str] = "request"
    logged: ClassVar[bool] = False
    signature: bytes

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, damaged=self.signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedWithdrawn(Change):
    """The file changed for which `povwatch go --damaged` was said."""

    event: ClassVar[str] = "withdrawn"
    logged: ClassVar[bool] = False

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, damaged=None, go=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Change):
    """`povwatch hold`."""

    event: ClassVar[str] = "request"
    logged: ClassVar[bool] = False

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, hold=True, go=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hasten(Change):
    """`povwatch retry` of a job that waits for its next attempt."""

    event: ClassVar[str] = "request"
    logged: ClassVar[bool] = False

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, not_before=0.0)


# -- arriving


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed(Change):
    """The clip's file is another one: it arrives anew."""

    event: ClassVar[str] = "changed"

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, state=S.ARRIVING, waiting_on=Waiting.SETTLING, detail="")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotVideo(Change):
    """It is no video."""

    event: ClassVar[str] = "rejected"
    error: str
    error_file: bytes | str | None
    source_stat: bytes

    def after(self, job: Job) -> Job:
        """See Change."""
        ended = replace(job, state=S.REJECTED, waiting_on=None, detail="")
        return replace(ended, error=self.error, source_stat=self.source_stat)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"problem": self.error, "error_file": self.error_file}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived(Change):
    """It is whole, and a video."""

    event: ClassVar[str] = "arrived"
    described: Mapping[str, Any]
    source_hash: str
    source_stat: bytes
    source_info: str
    now: float
    """Seconds since the epoch."""

    def after(self, job: Job) -> Job:
        """See Change. What is left of the grace is left to the same video alone."""
        left = job.grace_left if job.source_hash == self.source_hash else None
        here = replace(job, state=S.GRACE, waiting_on=Waiting.GRACE, detail="", grace_left=left)
        known = replace(here, source_hash=self.source_hash, source_stat=self.source_stat, source_info=self.source_info)
        return replace(known, grace_saved_at=self.now)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return self.described


# -- grace


@dataclass(frozen=True, slots=True, kw_only=True)
class GraceBegun(Change):
    """Its JSON is there, if inputs/ takes it, and its grace begins or goes on."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False
    spec_digest: str
    grace_left: float
    """Seconds."""
    hold: bool
    go: bool
    now: float
    """Seconds since the epoch."""

    def after(self, job: Job) -> Job:
        """See Change."""
        begun = replace(job, spec_digest=self.spec_digest, grace_left=self.grace_left, grace_saved_at=self.now)
        return replace(begun, hold=self.hold, go=self.go)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraceLooked(Change):
    """A look at what lies beside a clip found something new, though nothing to log."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False
    waiting: Waiting | None
    detail: str
    spec_digest: str | None = None
    """Of a JSON that the grace begins anew for."""
    grace_left: float | None = None
    """Seconds, where the clock began anew, stopped or went on."""
    invalid: bool = False
    """Whether the JSON cannot be run from now on."""
    now: float
    """Seconds since the epoch."""

    def after(self, job: Job) -> Job:
        """See Change."""
        job = replace(job, state=S.GRACE, waiting_on=self.waiting, detail=self.detail)
        if self.spec_digest is not None:
            job = replace(job, spec_digest=self.spec_digest)
        if self.grace_left is not None:
            job = replace(job, grace_left=self.grace_left, grace_saved_at=self.now)
        return replace(job, invalid_since=self.now) if self.invalid else job


@dataclass(frozen=True, slots=True, kw_only=True)
class GraceNews(GraceLooked):
    """A look found something new that is logged: it was edited, is held, cannot be run ..."""

    logged: ClassVar[bool] = True
    what: str
    """The event's name."""
    told: Mapping[str, Any]

    def name(self) -> str:
        """See Change."""
        return self.what

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return self.told


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecValid(Change):
    """Its JSON can be run again."""

    event: ClassVar[str] = "valid-spec"
    spec: bytes

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, invalid_since=None)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"spec": self.spec}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prioritised(Change):
    """Its JSON, or its folder, gives it another priority."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False
    priority: int

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, priority=self.priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraceAgain(Change):
    """Its JSON was edited while it was queued."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, state=S.GRACE, waiting_on=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecRejected(Change):
    """Its JSON could not be run for longer than `grace.max`."""

    event: ClassVar[str] = "rejected"
    problem: str
    error: str
    error_file: bytes | str | None
    spec_digest: str
    spec_stat: bytes | None

    def after(self, job: Job) -> Job:
        """See Change."""
        ended = replace(job, state=S.REJECTED, waiting_on=None, detail="", error=self.error)
        return replace(ended, spec_digest=self.spec_digest, spec_stat=self.spec_stat)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"problem": self.problem, "error_file": self.error_file}


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneAlready(Change):
    """The same video was published with the same spec before."""

    event: ClassVar[str] = "done-already"
    output: str | None
    engine: str | None
    spec_hash: str | None
    spec_stat: bytes | None
    spec_digest: str | None = None
    """None where its grace did not begin."""

    def after(self, job: Job) -> Job:
        """See Change."""
        if self.spec_digest is not None:
            job = replace(job, spec_digest=self.spec_digest)
        ended = replace(job, state=S.DONE, waiting_on=None, detail="the same was published before")
        run = replace(ended, output=self.output, engine=self.engine, spec_hash=self.spec_hash)
        return replace(run, spec_stat=self.spec_stat)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"output": self.output}


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued(Change):
    """Its grace is over."""

    event: ClassVar[str] = "queued"
    ahead: int
    """How many jobs are before it."""
    spec_digest: str
    spec_stat: bytes | None
    spec_hash: str

    def after(self, job: Job) -> Job:
        """See Change."""
        queued = replace(job, state=S.QUEUED, waiting_on=Waiting.TURN, detail="", grace_left=0.0, invalid_since=None)
        return replace(queued, spec_digest=self.spec_digest, spec_stat=self.spec_stat, spec_hash=self.spec_hash)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"ahead": self.ahead}


# -- running


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Change):
    """A worker has claimed it: its spec is frozen, and the attempt counts."""

    event: ClassVar[str] = "started"
    run_id: str
    attempt: int
    attempts: int
    """How many there may be."""
    worker: int
    on: str
    """The UUIDs of the worker's GPUs."""
    spec_json: str
    spec_hash: str
    engine: str

    def after(self, job: Job) -> Job:
        """See Change."""
        claimed = replace(job, state=S.RUNNING, waiting_on=None, detail="", run_id=self.run_id, attempts=self.attempt)
        frozen = replace(claimed, spec_json=self.spec_json, spec_hash=self.spec_hash, engine=self.engine)
        return replace(frozen, go=False, error=None)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"attempt": self.attempt, "attempts": self.attempts, "worker": self.worker, "on": self.on}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundInClip(Change):
    """More is known of the clip, now that all of it was decoded: `damaged` frames, or a `resized` picture."""

    event: ClassVar[str] = "damaged"
    what: str
    """The event's name."""
    told: Mapping[str, Any]
    source_info: str

    def name(self) -> str:
        """See Change."""
        return self.what

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, source_info=self.source_info)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return self.told


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated(Change):
    """The engine has made its artifact, and that is durable."""

    event: ClassVar[str] = "generated"
    artifact: str
    """See attempt.Attempt.to_json."""
    took: str
    gpu: Mapping[str, Any]
    learned: Mapping[str, Any] | None

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, state=S.CHECKING, artifact=self.artifact)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"took": self.took, "gpu": self.gpu, "learned": self.learned}


# -- checking and publishing


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed(Change):
    """The result is what was asked for, and is promised."""

    event: ClassVar[str] = "checked"
    told: Mapping[str, Any]
    promise: str
    artifact: str

    def after(self, job: Job) -> Job:
        """See Change."""
        promised = replace(job, state=S.PUBLISHING, waiting_on=None, detail="")
        return replace(promised, promise=self.promise, artifact=self.artifact)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return self.told


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishRetry(Change):
    """What was generated could not be finished; it is tried again."""

    event: ClassVar[str] = "finish-retry"
    problem: str
    at: str
    waiting: Waiting | None
    detail: str
    artifact: str

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, waiting_on=self.waiting, detail=self.detail, artifact=self.artifact)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"problem": self.problem, "at": self.at}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishAgain(Change):
    """Somebody asked for another try to finish what was generated."""

    event: ClassVar[str] = "finish-again"
    artifact: str

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, state=S.CHECKING, artifact=self.artifact, error=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPutOff(Change):
    """The machine does not allow checking or publishing now. Said by whoever puts it off, with the time."""

    event: ClassVar[str] = "check-later"
    logged: ClassVar[bool] = False
    step: str
    """The event's name: `check-later` or `publish-later`."""
    waiting: Waiting
    detail: str

    def name(self) -> str:
        """See Change."""
        return self.step

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, waiting_on=self.waiting, detail=self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisedAnew(Change):
    """Somebody took a name between promise and publishing: the next name is promised."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False
    promise: str

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, promise=self.promise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Change):
    """It is published."""

    event: ClassVar[str] = "done"
    took: str
    path: Any
    """Where the result is, as the log shows it."""
    output: str
    """The same, relative to outputs/."""
    note: str
    error: str | None
    """Which hook after it failed, if one did."""

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, state=S.DONE, waiting_on=None, detail=self.note, output=self.output, error=self.error)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"took": self.took, "output": self.path}


# -- attempts that did not come out


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivesAgain(Change):
    """The clip was not the one that arrived: the attempt is given back, and it arrives anew."""

    event: ClassVar[str] = "released"
    problem: str

    def after(self, job: Job) -> Job:
        """See Change."""
        back = replace(_without_attempt(job), state=S.ARRIVING, waiting_on=Waiting.SETTLING, detail="")
        return replace(back, attempts=max(job.attempts - 1, 0))

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"problem": self.problem}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeued(Change):
    """Back to the queue: `retry` with the attempt counted, `released` with it given back, `orphaned` after a crash."""

    event: ClassVar[str] = "retry"
    how: str
    """The event's name."""
    told: Mapping[str, Any]
    waiting: Waiting | None
    detail: str
    not_before: float
    attempts: int
    crashes: int

    def name(self) -> str:
        """See Change."""
        return self.how

    def after(self, job: Job) -> Job:
        """See Change."""
        back = replace(_without_attempt(job), state=S.QUEUED, waiting_on=self.waiting, detail=self.detail)
        return replace(back, not_before=self.not_before, attempts=self.attempts, crashes=self.crashes)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return self.told


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietlyRequeued(Requeued):
    """The same, where the log has a line about it already."""

    logged: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashCounted(Change):
    """povwatch ended while it was checked."""

    event: ClassVar[str] = "orphaned"
    logged: ClassVar[bool] = False
    crashes: int

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(job, crashes=self.crashes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Change):
    """It is given up."""

    event: ClassVar[str] = "failed"
    error: str

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(_without_attempt(job), state=S.FAILED, waiting_on=None, detail="", error=self.error)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"problem": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedKept(Failed):
    """It is given up after it was generated, and what was made is kept."""

    artifact: str | None
    promise: str | None
    crashes: int

    def after(self, job: Job) -> Job:
        """See Change."""
        ended = replace(job, state=S.FAILED, waiting_on=None, detail="", error=self.error)
        return replace(ended, artifact=self.artifact, promise=self.promise, crashes=self.crashes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked(Failed):
    """The engine's guardrail refused it."""

    event: ClassVar[str] = "blocked"

    def after(self, job: Job) -> Job:
        """See Change."""
        return replace(_without_attempt(job), state=S.BLOCKED, waiting_on=None, detail="", error=self.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(Change):
    """It is withdrawn."""

    event: ClassVar[str] = "cancelled"
    why: str
    source_stat: bytes | None
    """The clip's signature as it was last seen."""

    def after(self, job: Job) -> Job:
        """See Change."""
        ended = replace(_without_attempt(job), state=S.CANCELLED, waiting_on=None, detail=self.why)
        return replace(ended, source_stat=self.source_stat)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return {"why": self.why}


# -- hooks


@dataclass(frozen=True, slots=True, kw_only=True)
class HookChange(Change):
    """One of its hooks began or ended: the event says how."""

    event: ClassVar[str] = "hook-started"
    how: str
    """The event's name."""
    told: Mapping[str, Any]
    waits: HookWait | None
    """What the job waits on from now on; None where that has nothing to do with the hook."""

    def name(self) -> str:
        """See Change."""
        return self.how

    def after(self, job: Job) -> Job:
        """See Change."""
        if self.waits is None:
            return job
        job = replace(job, waiting_on=self.waits.waiting, detail=self.waits.detail)
        return job if self.waits.not_before is None else replace(job, not_before=self.waits.not_before)

    def log_fields(self) -> Mapping[str, Any]:
        """See Change."""
        return self.told


@dataclass(frozen=True, slots=True)
class HookWait:
    """What a job waits on because of a hook."""

    waiting: Waiting | None
    detail: str
    not_before: float | None = 0.0
    """Seconds since the epoch; None leaves it as it is."""
