"""Every change of a job, typed: the state that it leads to, the fields that it sets, and what is logged.

A change that ends an attempt clears the attempt's fields in the job's row, so no caller can forget them. The journal
refuses a change that the rules of core/job.py do not allow. `JobStore.apply` makes a change.
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
    """The name under which it is journalled, and logged if `logged`. core/events.py has the sentence."""
    logged: ClassVar[bool] = True

    def name(self) -> str:
        """The event's name."""
        return self.event

    def after(self, job: Job) -> Job:
        """The job as it is after the change."""
        raise NotImplementedError  # a change says what it makes of the job

    def log_fields(self) -> Mapping[str, Any]:
        """The fields that the log sentence names; journalled with the event."""
        return {}


def _without_attempt(job: Job) -> Job:
    """The job with its attempt's fields cleared."""
    return replace(job, run_id=None, artifact=None, promise=None)


# -- what a job waits on


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits(Change):
    """The job waits on something else than before; its state stays."""

    event: ClassVar[str] = "waiting"
    waiting: Waiting
    detail: str
    """For people, as a sentence."""

    def after(self, job: Job) -> Job:
        return replace(job, waiting_on=self.waiting, detail=self.detail)

    def log_fields(self) -> Mapping[str, Any]:
        return {"waiting": str(self.waiting), "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class StillWaits(Waits):
    """The same wait, already in the log."""

    logged: ClassVar[bool] = False

    def log_fields(self) -> Mapping[str, Any]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class NotBefore(Change):
    """The job has no attempt before this time, in seconds since the epoch."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False
    at: float

    def after(self, job: Job) -> Job:
        return replace(job, not_before=self.at)


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff(Change):
    """The job waits on something, at least until this time, in seconds since the epoch."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False
    waiting: Waiting
    detail: str
    at: float

    def after(self, job: Job) -> Job:
        return replace(job, waiting_on=self.waiting, detail=self.detail, not_before=self.at)


# -- what people ask for


@dataclass(frozen=True, slots=True, kw_only=True)
class Go(Change):
    """`povwatch go`."""

    event: ClassVar[str] = "request"
    logged: ClassVar[bool] = False

    def after(self, job: Job) -> Job:
        return replace(job, go=True, hold=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GoDamaged(Change):
    """`povwatch go --damaged`: run whatever decodes of the file with this signature."""

    event: ClassVar[str] = "request"
    logged: ClassVar[bool] = False
    signature: bytes

    def after(self, job: Job) -> Job:
        return replace(job, damaged=self.signature, source_stat=self.signature, go=True, hold=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StillDamaged(Change):
    """`povwatch go --damaged` still holds: the clip that runs again is the same file."""

    event: ClassVar[str] = "request"
    logged: ClassVar[bool] = False
    signature: bytes

    def after(self, job: Job) -> Job:
        return replace(job, damaged=self.signature)


@dataclass(frozen=True, slots=True, kw_only=True)
class DamagedWithdrawn(Change):
    """`povwatch go --damaged` no longer holds: the file changed."""

    event: ClassVar[str] = "withdrawn"
    logged: ClassVar[bool] = False

    def after(self, job: Job) -> Job:
        return replace(job, damaged=None, go=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold(Change):
    """`povwatch hold`."""

    event: ClassVar[str] = "request"
    logged: ClassVar[bool] = False

    def after(self, job: Job) -> Job:
        return replace(job, hold=True, go=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hasten(Change):
    """`povwatch retry` of a job that waits for its next attempt."""

    event: ClassVar[str] = "request"
    logged: ClassVar[bool] = False

    def after(self, job: Job) -> Job:
        return replace(job, not_before=0.0)


# -- arriving


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed(Change):
    """The clip's file was replaced: it arrives anew."""

    event: ClassVar[str] = "changed"

    def after(self, job: Job) -> Job:
        return replace(job, state=S.ARRIVING, waiting_on=Waiting.SETTLING, detail="")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotVideo(Change):
    """The file is no video."""

    event: ClassVar[str] = "rejected"
    error: str
    error_file: bytes | str | None
    source_stat: bytes

    def after(self, job: Job) -> Job:
        ended = replace(job, state=S.REJECTED, waiting_on=None, detail="")
        return replace(ended, error=self.error, source_stat=self.source_stat)

    def log_fields(self) -> Mapping[str, Any]:
        return {"problem": self.error, "error_file": self.error_file}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived(Change):
    """The file is whole, and a video."""

    event: ClassVar[str] = "arrived"
    described: Mapping[str, Any]
    source_hash: str
    source_stat: bytes
    source_info: str
    now: float
    """Seconds since the epoch."""

    def after(self, job: Job) -> Job:
        """Only the same video keeps the grace that was left to it."""
        left = job.grace_left if job.source_hash == self.source_hash else None
        here = replace(job, state=S.GRACE, waiting_on=Waiting.GRACE, detail="", grace_left=left)
        known = replace(here, source_hash=self.source_hash, source_stat=self.source_stat, source_info=self.source_info)
        return replace(known, grace_saved_at=self.now)

    def log_fields(self) -> Mapping[str, Any]:
        return self.described


# -- grace


@dataclass(frozen=True, slots=True, kw_only=True)
class GraceBegun(Change):
    """The grace begins or goes on. The clip's JSON exists, unless inputs/ refuses it."""

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
        begun = replace(job, spec_digest=self.spec_digest, grace_left=self.grace_left, grace_saved_at=self.now)
        return replace(begun, hold=self.hold, go=self.go)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraceLooked(Change):
    """The grace stage looked at the files beside a clip and found something new that needs no log line."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False
    waiting: Waiting | None
    detail: str
    spec_digest: str | None = None
    """The JSON's digest, where the grace begins anew for it."""
    grace_left: float | None = None
    """Seconds, where the grace clock was reset, stopped or started."""
    invalid: bool = False
    """Whether the JSON has become invalid."""
    now: float
    """Seconds since the epoch."""

    def after(self, job: Job) -> Job:
        job = replace(job, state=S.GRACE, waiting_on=self.waiting, detail=self.detail)
        if self.spec_digest is not None:
            job = replace(job, spec_digest=self.spec_digest)
        if self.grace_left is not None:
            job = replace(job, grace_left=self.grace_left, grace_saved_at=self.now)
        return replace(job, invalid_since=self.now) if self.invalid else job


@dataclass(frozen=True, slots=True, kw_only=True)
class GraceNews(GraceLooked):
    """The grace stage found something new that is logged: an edit, a hold, an invalid JSON ..."""

    logged: ClassVar[bool] = True
    what: str
    """The event's name."""
    fields: Mapping[str, Any]

    def name(self) -> str:
        return self.what

    def log_fields(self) -> Mapping[str, Any]:
        return self.fields


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecValid(Change):
    """The job's JSON is valid again."""

    event: ClassVar[str] = "valid-spec"
    spec: bytes

    def after(self, job: Job) -> Job:
        return replace(job, invalid_since=None)

    def log_fields(self) -> Mapping[str, Any]:
        return {"spec": self.spec}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prioritised(Change):
    """The JSON, or the folder, gives the job another priority."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False
    priority: int

    def after(self, job: Job) -> Job:
        return replace(job, priority=self.priority)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraceAgain(Change):
    """The JSON was edited while the job was queued."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False

    def after(self, job: Job) -> Job:
        return replace(job, state=S.GRACE, waiting_on=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecRejected(Change):
    """The JSON stayed invalid for longer than `grace.max`."""

    event: ClassVar[str] = "rejected"
    problem: str
    error: str
    error_file: bytes | str | None
    spec_digest: str
    spec_stat: bytes | None

    def after(self, job: Job) -> Job:
        ended = replace(job, state=S.REJECTED, waiting_on=None, detail="", error=self.error)
        return replace(ended, spec_digest=self.spec_digest, spec_stat=self.spec_stat)

    def log_fields(self) -> Mapping[str, Any]:
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
    """None if the job's grace did not begin."""

    def after(self, job: Job) -> Job:
        if self.spec_digest is not None:
            job = replace(job, spec_digest=self.spec_digest)
        ended = replace(job, state=S.DONE, waiting_on=None, detail="the same was published before")
        run = replace(ended, output=self.output, engine=self.engine, spec_hash=self.spec_hash)
        return replace(run, spec_stat=self.spec_stat)

    def log_fields(self) -> Mapping[str, Any]:
        return {"output": self.output}


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued(Change):
    """The job's grace is over."""

    event: ClassVar[str] = "queued"
    ahead: int
    """How many jobs go first."""
    spec_digest: str
    spec_stat: bytes | None
    spec_hash: str

    def after(self, job: Job) -> Job:
        queued = replace(job, state=S.QUEUED, waiting_on=Waiting.TURN, detail="", grace_left=0.0, invalid_since=None)
        return replace(queued, spec_digest=self.spec_digest, spec_stat=self.spec_stat, spec_hash=self.spec_hash)

    def log_fields(self) -> Mapping[str, Any]:
        return {"ahead": self.ahead}


# -- running


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Change):
    """A worker claimed the job: the spec is frozen, and the attempt counts."""

    event: ClassVar[str] = "started"
    run_id: str
    attempt: int
    attempts: int
    """How many attempts the job may have."""
    worker: int
    on: str
    """The UUIDs of the worker's GPUs."""
    spec_json: str
    spec_hash: str
    engine: str

    def after(self, job: Job) -> Job:
        claimed = replace(job, state=S.RUNNING, waiting_on=None, detail="", run_id=self.run_id, attempts=self.attempt)
        frozen = replace(claimed, spec_json=self.spec_json, spec_hash=self.spec_hash, engine=self.engine)
        return replace(frozen, go=False, error=None)

    def log_fields(self) -> Mapping[str, Any]:
        return {"attempt": self.attempt, "attempts": self.attempts, "worker": self.worker, "on": self.on}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundInClip(Change):
    """Decoding the whole clip showed `damaged` frames, or a `resized` picture."""

    event: ClassVar[str] = "damaged"
    what: str
    """The event's name."""
    fields: Mapping[str, Any]
    source_info: str

    def name(self) -> str:
        return self.what

    def after(self, job: Job) -> Job:
        return replace(job, source_info=self.source_info)

    def log_fields(self) -> Mapping[str, Any]:
        return self.fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated(Change):
    """The engine's artifact exists and is durable."""

    event: ClassVar[str] = "generated"
    artifact: str
    """See attempt.Attempt.to_json."""
    took: str
    gpu: Mapping[str, Any]
    learned: Mapping[str, Any] | None

    def after(self, job: Job) -> Job:
        return replace(job, state=S.CHECKING, artifact=self.artifact)

    def log_fields(self) -> Mapping[str, Any]:
        return {"took": self.took, "gpu": self.gpu, "learned": self.learned}


# -- checking and publishing


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed(Change):
    """The result passed its checks, and is promised."""

    event: ClassVar[str] = "checked"
    fields: Mapping[str, Any]
    promise: str
    artifact: str

    def after(self, job: Job) -> Job:
        promised = replace(job, state=S.PUBLISHING, waiting_on=None, detail="")
        return replace(promised, promise=self.promise, artifact=self.artifact)

    def log_fields(self) -> Mapping[str, Any]:
        return self.fields


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishRetry(Change):
    """Finishing the artifact failed, and is tried again."""

    event: ClassVar[str] = "finish-retry"
    problem: str
    at: str
    waiting: Waiting | None
    detail: str
    artifact: str

    def after(self, job: Job) -> Job:
        return replace(job, waiting_on=self.waiting, detail=self.detail, artifact=self.artifact)

    def log_fields(self) -> Mapping[str, Any]:
        return {"problem": self.problem, "at": self.at}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishAgain(Change):
    """Somebody asked to finish the kept artifact again."""

    event: ClassVar[str] = "finish-again"
    artifact: str

    def after(self, job: Job) -> Job:
        return replace(job, state=S.CHECKING, artifact=self.artifact, error=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPutOff(Change):
    """The machine does not allow checking or publishing now. The caller logs it, with the time of the next try."""

    event: ClassVar[str] = "check-later"
    logged: ClassVar[bool] = False
    step: str
    """The event's name: `check-later` or `publish-later`."""
    waiting: Waiting
    detail: str

    def name(self) -> str:
        return self.step

    def after(self, job: Job) -> Job:
        return replace(job, waiting_on=self.waiting, detail=self.detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisedAnew(Change):
    """The promised name was taken before it was published: the next free name is promised."""

    event: ClassVar[str] = "waiting"
    logged: ClassVar[bool] = False
    promise: str

    def after(self, job: Job) -> Job:
        return replace(job, promise=self.promise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Done(Change):
    """The result is published."""

    event: ClassVar[str] = "done"
    took: str
    path: Any
    """Where the result is, as the log shows it."""
    output: str
    """The same path, relative to outputs/."""
    note: str
    error: str | None
    """The `after` hook that failed, if one did."""

    def after(self, job: Job) -> Job:
        return replace(job, state=S.DONE, waiting_on=None, detail=self.note, output=self.output, error=self.error)

    def log_fields(self) -> Mapping[str, Any]:
        return {"took": self.took, "output": self.path}


# -- attempts that failed


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivesAgain(Change):
    """The clip is not the file that arrived: the attempt is given back, and the clip arrives anew."""

    event: ClassVar[str] = "released"
    problem: str

    def after(self, job: Job) -> Job:
        back = replace(_without_attempt(job), state=S.ARRIVING, waiting_on=Waiting.SETTLING, detail="")
        return replace(back, attempts=max(job.attempts - 1, 0))

    def log_fields(self) -> Mapping[str, Any]:
        return {"problem": self.problem}


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeued(Change):
    """The job goes back to the queue.

    `retry` charges the attempt, `released` gives it back, `orphaned` follows a crash.
    """

    event: ClassVar[str] = "retry"
    how: str
    """The event's name."""
    fields: Mapping[str, Any]
    waiting: Waiting | None
    detail: str
    not_before: float
    attempts: int
    crashes: int

    def name(self) -> str:
        return self.how

    def after(self, job: Job) -> Job:
        back = replace(_without_attempt(job), state=S.QUEUED, waiting_on=self.waiting, detail=self.detail)
        return replace(back, not_before=self.not_before, attempts=self.attempts, crashes=self.crashes)

    def log_fields(self) -> Mapping[str, Any]:
        return self.fields


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietlyRequeued(Requeued):
    """The same, already in the log."""

    logged: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashCounted(Change):
    """povwatch ended while it checked the job's result."""

    event: ClassVar[str] = "orphaned"
    logged: ClassVar[bool] = False
    crashes: int

    def after(self, job: Job) -> Job:
        return replace(job, crashes=self.crashes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Change):
    """The job is given up."""

    event: ClassVar[str] = "failed"
    error: str

    def after(self, job: Job) -> Job:
        return replace(_without_attempt(job), state=S.FAILED, waiting_on=None, detail="", error=self.error)

    def log_fields(self) -> Mapping[str, Any]:
        return {"problem": self.error}


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedKept(Failed):
    """The job is given up after generation. Its artifact is kept."""

    artifact: str | None
    promise: str | None
    crashes: int

    def after(self, job: Job) -> Job:
        ended = replace(job, state=S.FAILED, waiting_on=None, detail="", error=self.error)
        return replace(ended, artifact=self.artifact, promise=self.promise, crashes=self.crashes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked(Failed):
    """The engine's guardrail refused the job."""

    event: ClassVar[str] = "blocked"

    def after(self, job: Job) -> Job:
        return replace(_without_attempt(job), state=S.BLOCKED, waiting_on=None, detail="", error=self.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(Change):
    """The job is withdrawn."""

    event: ClassVar[str] = "cancelled"
    why: str
    source_stat: bytes | None
    """The clip's signature as it was last seen."""

    def after(self, job: Job) -> Job:
        ended = replace(_without_attempt(job), state=S.CANCELLED, waiting_on=None, detail=self.why)
        return replace(ended, source_stat=self.source_stat)

    def log_fields(self) -> Mapping[str, Any]:
        return {"why": self.why}


# -- hooks


@dataclass(frozen=True, slots=True, kw_only=True)
class HookChange(Change):
    """A hook of the job began or ended; the event says which."""

    event: ClassVar[str] = "hook-started"
    how: str
    """The event's name."""
    fields: Mapping[str, Any]
    waits: HookWait | None
    """What the job waits on from now on; None where the hook changes nothing about that."""

    def name(self) -> str:
        return self.how

    def after(self, job: Job) -> Job:
        if self.waits is None:
            return job
        job = replace(job, waiting_on=self.waits.waiting, detail=self.waits.detail)
        return job if self.waits.not_before is None else replace(job, not_before=self.waits.not_before)

    def log_fields(self) -> Mapping[str, Any]:
        return self.fields


@dataclass(frozen=True, slots=True)
class HookWait:
    """The wait that a hook causes."""

    waiting: Waiting | None
    detail: str
    not_before: float | None = 0.0
    """Seconds since the epoch; None keeps the present value."""
