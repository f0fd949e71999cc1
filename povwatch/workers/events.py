"""Events that the workers' side reports to the run stage. Each job that a worker got ends with exactly one of them.

The ends are Generated, JobFailed, JobCancelled, and WorkerLost with the job's ids. Progress and Generated are the
worker's own messages. Supervisors report all events but OutOfMemoryJudged, which the pool reports when it was asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from povwatch.core import errors, machine_faults
from povwatch.process import protocol
from povwatch.process.protocol import Generated, Progress

Loss = errors.Transient
"""Why a worker is lost: it died, it stalled, or its GPU failed."""

BLOCKED = "blocked"

STALLED = "stalled"
"""The kind of loss of a worker that was killed because it hung."""

REMOTE = "remote-died"
"""The kind of loss of a worker that died on another machine, or whose machine was lost."""

# -- the engine --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EngineLoaded:
    """The engine is ready for jobs."""

    capabilities: dict[str, Any]
    seconds: float
    """Seconds since the process was started."""


@dataclass(frozen=True, slots=True)
class EngineUnavailable:
    """The engine could not be loaded; the supervisor retries by itself."""

    failure_kind: str
    """See port.FailureKind."""
    message: str
    todo: str
    retry_at: float
    """Time on the supervisor's clock; infinity while a killed worker does not go away."""


@dataclass(frozen=True, slots=True)
class EngineOutput:
    """A line that the worker, or a library in it, printed. Escape the text: it is not to be trusted."""

    line: str


# -- the end of a job -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JobFailed:
    """The attempt failed and the worker said why, or the guardrail refused the job."""

    job_id: int
    run_id: str
    failure_kind: str
    """See port.FailureKind; `blocked` if the guardrail refused the job."""
    error: errors.PovwatchError


@dataclass(frozen=True, slots=True)
class JobCancelled:
    """The job was left because of `cancel` or `stop`, or could not begin. The job is not at fault."""

    job_id: int
    run_id: str
    why: str
    pause: float = 0.0
    """Seconds until it may be given to a worker again."""


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """The worker died, or was killed because it hung or its GPU failed. If it has a job's ids, that attempt ends."""

    job_id: int | None
    run_id: str | None
    error: Loss
    retry_at: float
    """Time on the supervisor's clock at which another worker starts."""


@dataclass(frozen=True, slots=True)
class WorkerLeft:
    """A worker on another machine was taken away, not by its own fault. Its job, if it had one, has ended."""

    why: str
    broken: bool = False
    """Whether its machine is at fault: a clip's files could not be carried there or back."""


# -- what the pool found out -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OutOfMemoryJudged:
    """A job that ran out of memory has failed with this error: GpuBusy if another process is on the worker's GPU."""

    job_id: int
    run_id: str
    error: errors.PovwatchError


Event = (
    EngineLoaded
    | EngineUnavailable
    | EngineOutput
    | Progress
    | Generated
    | JobFailed
    | JobCancelled
    | WorkerLost
    | WorkerLeft
    | OutOfMemoryJudged
)

JobEnd = Generated | protocol.Blocked | protocol.Failed | protocol.Cancelled
"""The messages that end a job."""


def job_end(message: JobEnd, cancel_why: str | None, stop_why: str) -> Event:
    """The event for a message that ends a job. A cancelled job ends as cancelled, whatever the message says.

    Args:
        cancel_why: Why the job was cancelled; None if it was not.
        stop_why: Why the worker was told to end, for a job that it left because of that.
    """
    ids = (message.job_id, message.run_id)
    if cancel_why is not None or isinstance(message, protocol.Cancelled):
        return JobCancelled(*ids, stop_why if cancel_why is None else cancel_why)
    if isinstance(message, Generated):
        return message
    if isinstance(message, protocol.Blocked):
        return JobFailed(*ids, BLOCKED, errors.Blocked(storable(message.message), "Change the prompt or the clip."))
    return JobFailed(*ids, message.kind, job_error(message.kind, message.message, message.todo))


def job_error(failure_kind: str, message: str, todo: str) -> errors.PovwatchError:
    """The error for a kind of failure; see port.FailureKind. An unknown kind counts as `error`."""
    return _ERRORS.get(failure_kind, errors.AttemptFailed)(storable(message), storable(todo))


def failure_kind_of(error: errors.PovwatchError) -> str:
    """The kind of failure for an error; see port.FailureKind."""
    return next((kind for kind, cause in _ERRORS.items() if isinstance(error, cause)), "error")


def loss_of(error: Loss) -> str:
    """The kind of a worker's loss, for counters: died, stalled, remote-died, or what befell its GPU or its machine."""
    if isinstance(error, errors.WorkerStalled):
        return STALLED
    if isinstance(error, errors.RemoteWorkerDied):
        return REMOTE
    return "died" if isinstance(error, errors.WorkerDied) else failure_kind_of(error)


def noted(said: dict[str, Any]) -> list[str]:
    """The sentences for the log among what an engine says of itself or of its artifact; see port.Engine."""
    notes = said.get("notes")
    return [storable(str(note)) for note in notes] if isinstance(notes, list) else []


def storable(text: str) -> str:
    """An engine's text, with escapes for control characters and for lone surrogates.

    Lone surrogates stand for bytes of a file name that are no UTF-8. No file or database takes them, and an engine's
    exception may name such a file.
    """
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii") for c in text)


_ERRORS: dict[str, type[errors.PovwatchError]] = {
    "out-of-memory": errors.OutOfMemory,
    "gpu-lost": errors.GpuLost,
    "gpu-busy": errors.GpuBusy,
    **machine_faults.KINDS,
    "invalid": errors.JobFailed,
}
