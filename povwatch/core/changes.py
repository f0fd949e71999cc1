"""Every change of a job, typed: the state that it leads to, the fields that it sets, and what is logged.

A change that ends an attempt clears the attempt's fields in the job's row, so no caller can forget them. The journal
refuses a change that the rules of core/job.py do not allow. `JobStore.apply` makes a change.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

from povwatch.core.job import Job, JobState, Waiting

if TYPE_CHECKING:
    from collections.abc import Mapping

S = JobState

JOB_FIELDS = frozenset(field.name for field in fields(Job))

NO_ATTEMPT = {"run_id": None, "artifact": None, "promise": None}
"""What a change sets that ends an attempt."""


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Change:
    """One change of one job.

    The arguments in a subclass's class line give its event, whether it is logged, and what it sets in every job. A
    field of the subclass that has the name of a field of Job sets that one; it has to be of the same type. The rest is
    in `applied_to`.
    """

    event: ClassVar[str]
    """The name under which it is journalled, and logged if `logged`. core/events.py has the sentence."""
    logged: ClassVar[bool] = True
    sets: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, *, event: str | None = None, logged: bool | None = None, **sets: Any) -> None:  # noqa: ANN401 - a job's fields
        cls.event = cls.event if event is None else event
        cls.logged = cls.logged if logged is None else logged
        cls.sets = sets or cls.sets
        dataclass(frozen=True, kw_only=True)(cls)

    def name(self) -> str:
        """The event's name."""
        return self.event

    def applied_to(self, job: Job) -> Job:
        """The job as it is after the change."""
        own = {name: value for name, value in vars(self).items() if name in JOB_FIELDS}
        return replace(job, **self.sets, **own)

    def log_fields(self) -> Mapping[str, Any]:
        """The fields that the log sentence names; journalled with the event."""
        return {}


# -- what a job waits on


class Waits(Change, event="waiting"):
    """The job waits on something else than before; its state stays."""

    waiting: Waiting
    detail: str
    """For people, as a sentence."""

    def applied_to(self, job: Job) -> Job:
        return replace(super().applied_to(job), waiting_on=self.waiting)

    def log_fields(self) -> Mapping[str, Any]:
        return {"waiting": str(self.waiting), "detail": self.detail}


class StillWaits(Waits, logged=False):
    """The same wait, already in the log."""

    def log_fields(self) -> Mapping[str, Any]:
        return {}


class NotBefore(Change, event="waiting", logged=False):
    """The job has no attempt before this time, in seconds since the epoch."""

    at: float

    def applied_to(self, job: Job) -> Job:
        return replace(job, not_before=self.at)


class PutOff(Change, event="waiting", logged=False):
    """The job waits on something, at least until this time, in seconds since the epoch."""

    waiting: Waiting
    detail: str
    at: float

    def applied_to(self, job: Job) -> Job:
        return replace(super().applied_to(job), waiting_on=self.waiting, not_before=self.at)


# -- what people ask for


class Go(Change, event="request", logged=False, go=True, hold=False):
    """`povwatch go`."""


class GoDamaged(Change, event="request", logged=False, go=True, hold=False):
    """`povwatch go --damaged`: run whatever decodes of the file with this signature."""

    signature: bytes

    def applied_to(self, job: Job) -> Job:
        return replace(super().applied_to(job), damaged=self.signature, source_stat=self.signature)


class StillDamaged(Change, event="request", logged=False):
    """`povwatch go --damaged` still holds: the clip that runs again is the same file."""

    signature: bytes

    def applied_to(self, job: Job) -> Job:
        return replace(job, damaged=self.signature)


class DamagedWithdrawn(Change, event="withdrawn", logged=False, damaged=None, go=False):
    """`povwatch go --damaged` no longer holds: the file changed."""


class Hold(Change, event="request", logged=False, hold=True, go=False):
    """`povwatch hold`."""


class Hasten(Change, event="request", logged=False, not_before=0.0):
    """`povwatch retry` of a job that waits for its next attempt."""


# -- arriving


class Changed(Change, event="changed", state=S.ARRIVING, waiting_on=Waiting.SETTLING, detail="", source_info=None):
    """The clip's file was replaced: it arrives anew."""


class NotVideo(Change, event="rejected", state=S.REJECTED, waiting_on=None, detail=""):
    """The file is no video."""

    error: str
    error_file: bytes | str | None
    source_stat: bytes

    def log_fields(self) -> Mapping[str, Any]:
        return {"problem": self.error, "error_file": self.error_file}


class _ClipIsThere(Change, event="arrived", logged=False, state=S.GRACE, waiting_on=Waiting.GRACE, detail=""):
    """The job's clip has arrived: its grace is next."""

    source_hash: str
    source_stat: bytes
    source_info: str
    now: float
    """Seconds since the epoch."""

    def applied_to(self, job: Job) -> Job:
        """Only the same video keeps the grace that was left to it."""
        left = job.grace_left if job.source_hash == self.source_hash else None
        return replace(super().applied_to(job), grace_left=left, grace_saved_at=self.now)


class Arrived(_ClipIsThere, logged=True):
    """The file is whole, and a video."""

    described: Mapping[str, Any]

    def log_fields(self) -> Mapping[str, Any]:
        return self.described


class Joined(_ClipIsThere, event="joined", logged=True):
    """The clip of a look's job has arrived, or had arrived before the job was added: nothing is inspected again."""

    spec: bytes

    def log_fields(self) -> Mapping[str, Any]:
        return {"spec": self.spec}


class LookRefused(Change, event="rejected", state=S.REJECTED, waiting_on=None, detail=""):
    """The look of a clip cannot have its name."""

    error: str
    error_file: bytes | str | None
    spec_stat: bytes

    def log_fields(self) -> Mapping[str, Any]:
        return {"problem": self.error, "error_file": self.error_file}


# -- grace


class GraceBegun(Change, event="waiting", logged=False):
    """The grace begins or goes on. The clip's JSON exists, unless inputs/ refuses it."""

    spec_digest: str
    grace_left: float
    """Seconds."""
    hold: bool
    go: bool
    now: float
    """Seconds since the epoch."""

    def applied_to(self, job: Job) -> Job:
        return replace(super().applied_to(job), grace_saved_at=self.now)


class GraceUpdated(Change, event="waiting", logged=False, state=S.GRACE):
    """The grace stage found something new beside a clip that needs no log line.

    It takes a queued job back to its grace.
    """

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

    def applied_to(self, job: Job) -> Job:
        job = replace(job, **self.sets, waiting_on=self.waiting, detail=self.detail)
        if self.spec_digest is not None:
            job = replace(job, spec_digest=self.spec_digest)
        if self.grace_left is not None:
            job = replace(job, grace_left=self.grace_left, grace_saved_at=self.now)
        return replace(job, invalid_since=self.now) if self.invalid else job


class GraceNews(GraceUpdated, logged=True):
    """The grace stage found something new that is logged: an edit, a hold, an invalid JSON ..."""

    event_name: str
    """The event's name."""
    fields: Mapping[str, Any]

    def name(self) -> str:
        return self.event_name

    def log_fields(self) -> Mapping[str, Any]:
        return self.fields


class SpecValid(Change, event="valid-spec", invalid_since=None):
    """The job's JSON is valid again."""

    spec: bytes

    def log_fields(self) -> Mapping[str, Any]:
        return {"spec": self.spec}


class Prioritised(Change, event="waiting", logged=False):
    """The JSON, or the folder, gives the job another priority."""

    priority: int


class GraceAgain(Change, event="waiting", logged=False, state=S.GRACE, waiting_on=None):
    """The JSON was edited while the job was queued."""


class SpecRejected(Change, event="rejected", state=S.REJECTED, waiting_on=None, detail=""):
    """The JSON stayed invalid for longer than `grace.max`."""

    problem: str
    error: str
    error_file: bytes | str | None
    spec_digest: str
    spec_stat: bytes | None

    def log_fields(self) -> Mapping[str, Any]:
        return {"problem": self.problem, "error_file": self.error_file}


class DoneAlready(Change, event="done-already", state=S.DONE, waiting_on=None, detail="the same was published before"):
    """The same video was published with the same spec before."""

    output: str | None
    engine: str | None
    spec_hash: str | None
    spec_stat: bytes | None
    spec_digest: str | None = None
    """None if the job's grace did not begin."""

    def applied_to(self, job: Job) -> Job:
        return replace(super().applied_to(job), spec_digest=self.spec_digest or job.spec_digest)

    def log_fields(self) -> Mapping[str, Any]:
        return {"output": self.output}


class Queued(
    Change, event="queued", state=S.QUEUED, waiting_on=Waiting.TURN, detail="", grace_left=0.0, invalid_since=None
):
    """The job's grace is over."""

    ahead: int
    """How many jobs go first."""
    spec_digest: str
    spec_stat: bytes | None
    spec_hash: str

    def log_fields(self) -> Mapping[str, Any]:
        return {"ahead": self.ahead}


# -- running


class Started(Change, event="started", state=S.RUNNING, waiting_on=None, detail="", go=False, error=None):
    """A worker claimed the job: the spec is frozen, and the attempt counts."""

    run_id: str
    attempt: int
    limit: int
    """How many attempts the job may have."""
    worker: int
    on: str
    """The UUIDs of the worker's GPUs, or the node that it is on."""
    where: str = ""
    """The worker in brackets, if it is on another machine; else empty."""
    spec_json: str
    spec_hash: str
    engine: str
    tries: str | None = None

    def applied_to(self, job: Job) -> Job:
        return replace(super().applied_to(job), attempts=self.attempt)

    def log_fields(self) -> Mapping[str, Any]:
        told = {"attempt": self.attempt, "attempts": self.limit, "worker": self.worker, "on": self.on}
        return told | ({"where": self.where} if self.where else {})


class FoundInClip(Change, event="damaged"):
    """Decoding the whole clip showed `damaged` frames, or a `resized` picture."""

    event_name: str
    """The event's name."""
    fields: Mapping[str, Any]
    source_info: str

    def name(self) -> str:
        return self.event_name

    def log_fields(self) -> Mapping[str, Any]:
        return self.fields


class Generated(Change, event="generated", state=S.CHECKING):
    """The engine's artifact exists and is durable."""

    artifact: str
    """See attempt.Attempt.to_json."""
    took: str
    gpu: Mapping[str, Any]
    learned: Mapping[str, Any] | None
    approximated: str = ""
    """What the engine approximated, for people; empty if nothing."""

    def log_fields(self) -> Mapping[str, Any]:
        told = {"took": self.took, "gpu": self.gpu, "learned": self.learned}
        return told | ({"approximated": self.approximated} if self.approximated else {})


# -- checking and publishing


class Passed(Change, event="checked", state=S.PUBLISHING, waiting_on=None, detail=""):
    """The result passed its checks, and is promised."""

    fields: Mapping[str, Any]
    run_id: str | None
    """The attempt whose result is published: an earlier one if the result of an earlier seed is the best."""
    promise: str
    artifact: str
    tries: str | None

    def log_fields(self) -> Mapping[str, Any]:
        return self.fields


class TryOver(
    Change,
    event="try-over",
    state=S.QUEUED,
    waiting_on=Waiting.TURN,
    attempts=0,
    crashes=0,
    not_before=0.0,
    **NO_ATTEMPT,
):
    """The result of a seed was judged, and another one is tried. Its files stay.

    It proves that neither the clip nor its JSON is why povwatch went down before.
    """

    fields: Mapping[str, Any]
    detail: str
    tries: str

    def log_fields(self) -> Mapping[str, Any]:
        return self.fields


class TriesEnded(Change, event="tries-ended", state=S.CHECKING, waiting_on=None, detail="", promise=None):
    """A seed failed for good. The best of the other results is published."""

    problem: str
    seed: int
    """Of the best."""
    run_id: str
    artifact: str
    tries: str

    def log_fields(self) -> Mapping[str, Any]:
        return {"problem": self.problem, "seed": self.seed}


class FinishRetry(Change, event="finish-retry"):
    """Finishing the artifact failed, and is tried again."""

    problem: str
    at: str
    waiting: Waiting | None
    detail: str
    artifact: str

    def applied_to(self, job: Job) -> Job:
        return replace(super().applied_to(job), waiting_on=self.waiting)

    def log_fields(self) -> Mapping[str, Any]:
        return {"problem": self.problem, "at": self.at}


class FinishAgain(Change, event="finish-again", state=S.CHECKING, error=None):
    """Somebody asked to finish the kept artifact again."""

    artifact: str


class StepPutOff(Change, event="check-later", logged=False):
    """The machine does not allow checking or publishing now. The caller logs it, with the time of the next try."""

    event_name: str
    """The event's name: `check-later` or `publish-later`."""
    waiting: Waiting
    detail: str

    def name(self) -> str:
        return self.event_name

    def applied_to(self, job: Job) -> Job:
        return replace(super().applied_to(job), waiting_on=self.waiting)


class PromisedAnew(Change, event="waiting", logged=False):
    """The promised name was taken before it was published: the next free name is promised."""

    promise: str


class Done(Change, event="done", state=S.DONE, waiting_on=None):
    """The result is published."""

    took: str
    shown: Any
    """Where the result is, as the log shows it."""
    output: str
    """The same path, relative to outputs/."""
    note: str
    error: str | None
    """The `after` hook that failed, if one did."""

    def applied_to(self, job: Job) -> Job:
        return replace(super().applied_to(job), detail=self.note)

    def log_fields(self) -> Mapping[str, Any]:
        return {"took": self.took, "output": self.shown}


# -- attempts that failed


class ArrivesAgain(
    Change, event="released", state=S.ARRIVING, waiting_on=Waiting.SETTLING, detail="", source_info=None, **NO_ATTEMPT
):
    """The clip is not the file that arrived: the attempt is given back, and the clip arrives anew."""

    problem: str

    def applied_to(self, job: Job) -> Job:
        return replace(super().applied_to(job), attempts=max(job.attempts - 1, 0))

    def log_fields(self) -> Mapping[str, Any]:
        return {"problem": self.problem}


class Requeued(Change, event="retry", state=S.QUEUED, **NO_ATTEMPT):
    """The job goes back to the queue.

    `retry` charges the attempt, `released` gives it back, `orphaned` follows a crash.
    """

    event_name: str
    """The event's name."""
    fields: Mapping[str, Any]
    waiting: Waiting | None
    detail: str
    not_before: float
    attempts: int
    crashes: int

    def name(self) -> str:
        return self.event_name

    def applied_to(self, job: Job) -> Job:
        return replace(super().applied_to(job), waiting_on=self.waiting)

    def log_fields(self) -> Mapping[str, Any]:
        return self.fields


class QuietlyRequeued(Requeued, logged=False):
    """The same, already in the log."""


class CrashCounted(Change, event="orphaned", logged=False):
    """povwatch ended while it checked the job's result."""

    crashes: int


class Failed(Change, event="failed", state=S.FAILED, waiting_on=None, detail="", **NO_ATTEMPT):
    """The job is given up."""

    error: str

    def log_fields(self) -> Mapping[str, Any]:
        return {"problem": self.error}


class FailedKept(Failed, state=S.FAILED, waiting_on=None, detail=""):
    """The job is given up after generation. Its artifact is kept."""

    artifact: str | None
    promise: str | None
    crashes: int


class Blocked(Failed, event="blocked", state=S.BLOCKED, waiting_on=None, detail="", **NO_ATTEMPT):
    """The engine's guardrail refused the job."""


class Cancelled(Change, event="cancelled", state=S.CANCELLED, waiting_on=None, **NO_ATTEMPT):
    """The job is withdrawn."""

    why: str
    source_stat: bytes | None
    """The clip's signature as it was last seen."""

    def applied_to(self, job: Job) -> Job:
        return replace(super().applied_to(job), detail=self.why)

    def log_fields(self) -> Mapping[str, Any]:
        return {"why": self.why}


class SpecDeleted(Cancelled, state=S.CANCELLED, waiting_on=None, spec_digest="", spec_stat=None, **NO_ATTEMPT):
    """The job's JSON was deleted, and with it the look. Put back, with whatever it says, it makes another run."""

    def log_fields(self) -> Mapping[str, Any]:
        return {"why": self.why}


# -- hooks


class HookChange(Change, event="hook-started"):
    """A hook of the job began or ended; the event says which."""

    event_name: str
    """The event's name."""
    fields: Mapping[str, Any]
    waits: HookWait | None
    """What the job waits on from now on; None where the hook changes nothing about that."""

    def name(self) -> str:
        return self.event_name

    def applied_to(self, job: Job) -> Job:
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
