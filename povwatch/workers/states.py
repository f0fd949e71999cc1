"""A supervisor's state, its worker, the worker's job, and what the worker is late with. Pure.

All times are seconds on the supervisor's clock. A supervisor waits for exactly the deadlines that it enforces.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import TYPE_CHECKING, Any

from povwatch.core.errors import PovwatchError, WorkerDied, WorkerStalled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.process.protocol import CheckPrompts, Generate, Progress
    from povwatch.workers.events import Event, Loss
    from povwatch.workers.process import Process


class SupervisorState(StrEnum):
    """A supervisor's state; supervisor.py lists the transitions."""

    STOPPED = "stopped"
    """There is no worker, and none is started."""
    LOADING = "loading"
    """The worker starts and loads its engine."""
    READY = "ready"
    """The engine is loaded and has no job."""
    BUSY = "busy"
    """The engine has a job."""
    BACKOFF = "backoff"
    """The last worker is gone, or about to go. Another one starts after a pause."""
    STOPPING = "stopping"
    """The worker was told to end."""


S = SupervisorState

STARTING = "starting"
"""Stage of a load before the worker has reported one."""


class InvalidState(PovwatchError):  # noqa: N818 - the word of h11 and cog for it
    """The supervisor's state does not allow the call; nothing was changed."""


@dataclass(slots=True)
class CurrentJob:
    """The job that a worker was given."""

    request: Generate
    progressed_at: float
    """When its progress last changed; at first, when the worker got it."""
    started: bool = False
    """Whether the engine has it. If a worker dies before that, the job is not the cause."""
    progress: Progress | None = None
    cancel_why: str | None = None
    """Why the job is cancelled; None if it is not."""
    cancelled_at: float = 0.0


@dataclass(slots=True)
class CurrentCheck:
    """The prompts that a worker checks."""

    request: CheckPrompts
    asked_at: float


@dataclass(slots=True)
class CurrentWorker:
    """A worker, from the start of its process to its end."""

    process: Process
    started_at: float
    heard_at: float
    """When it last sent anything."""
    loaded_at: float | None = None
    capabilities: dict[str, Any] = field(default_factory=dict)
    """See port.Engine.load."""
    loading: tuple[str, float | None] = (STARTING, None)
    """Stage of the load, and its fraction, 0 to 1, if known."""
    job: CurrentJob | None = None
    check: CurrentCheck | None = None
    exit_by: float | None = None
    """Time by which it has to exit by itself; None while it may stay."""
    hung_up: str = ""
    """Why no more messages come from it; empty while the channel is open."""
    terminated: bool = False
    """Whether it was sent SIGTERM."""
    killed_at: float | None = None
    unkillable: bool = False
    """Whether it was killed and stays; this was reported."""
    unreported: list[Event] = field(default_factory=list)
    """Events to report once it is gone, and its GPU memory with it."""
    last_line: str = ""
    """The last line that it printed, progress bars left out."""

    def forgive(self, seconds: float) -> None:
        """Extend all deadlines by a time in which nothing ran."""
        self.started_at += seconds
        self.heard_at += seconds
        if self.job is not None:
            self.job.progressed_at += seconds
            self.job.cancelled_at += seconds
        if self.check is not None:
            self.check.asked_at += seconds
        if self.exit_by is not None:
            self.exit_by += seconds
        if self.killed_at is not None:
            self.killed_at += seconds


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that a supervisor waits for its worker."""

    load: float
    """From the start of the process to a loaded engine."""
    stall: float
    """Until the job's progress changes."""
    heartbeat: float = 30.0
    """Until the worker sends anything at all."""
    check: float = 120.0
    """Until the text filters have checked some prompts."""
    stop: float = 5.0
    """Until the worker exits after it was told to. Then the signals follow: `terminate` and `last_kill`."""
    cancel: float = 60.0
    """Until the engine lets go of a cancelled job."""
    exit: float = 3.0
    """Until the worker exits by itself when it has nothing more to do."""
    stacks: float = 0.5
    """For the worker to print where it hangs, before it is killed for that."""
    terminate: float = 1.0
    """From SIGTERM to SIGKILL."""
    kill: float = 10.0
    """From SIGKILL until the process is gone; freeing much GPU memory takes a while."""
    last_kill: float = 1.5
    """As `kill`, when the daemon stops, which has little time."""


class Overdue(Enum):
    """What a worker is late with."""

    DEATH = auto()
    """The worker was killed and is still there."""
    EXIT = auto()
    """The worker had to exit by itself and did not."""
    HEARTBEAT = auto()
    """The worker sends nothing."""
    LOAD = auto()
    """The engine is not loaded."""
    CANCEL = auto()
    """The worker still works on a cancelled job."""
    PROGRESS = auto()
    """The job does not advance."""
    CHECK = auto()
    """The text filters do not answer."""


def deadlines(worker: CurrentWorker, state: SupervisorState, timeouts: Timeouts) -> Iterator[tuple[float, Overdue]]:
    """The times at which the worker is late, and with what; the gravest first."""
    if worker.unkillable and state is not S.STOPPING:
        return  # only its end counts now
    if worker.killed_at is not None:
        yield worker.killed_at + (timeouts.last_kill if state is S.STOPPING else timeouts.kill), Overdue.DEATH
        return
    if worker.exit_by is not None:
        yield worker.exit_by, Overdue.EXIT
    if state in (S.LOADING, S.READY, S.BUSY):
        yield worker.heard_at + timeouts.heartbeat, Overdue.HEARTBEAT
    if state is S.LOADING:
        yield worker.started_at + timeouts.load, Overdue.LOAD
    if state is S.BUSY and worker.job is not None:
        if worker.job.cancel_why is not None:
            yield worker.job.cancelled_at + timeouts.cancel, Overdue.CANCEL
        yield worker.job.progressed_at + timeouts.stall, Overdue.PROGRESS
    if state in (S.READY, S.BUSY) and worker.check is not None:
        yield worker.check.asked_at + timeouts.check, Overdue.CHECK


def loss(late: Overdue, worker: CurrentWorker, timeouts: Timeouts) -> Loss:
    """The error of a worker that is killed because it is late."""
    match late:
        case Overdue.HEARTBEAT:
            what = f"The worker said nothing for {timeouts.heartbeat:g} s and was killed."
            return WorkerStalled(what, "It hung, or somebody stopped it; the log may say where.")
        case Overdue.LOAD:
            what = f"The engine was not loaded within {timeouts.load:g} s (stage {worker.loading[0]!r}) and was killed."
            return WorkerStalled(what, "Raise engine.load_timeout if it needs longer here.")
        case Overdue.PROGRESS:
            what = f"The job made no progress for {timeouts.stall:g} s ({_where(worker)}) and its worker was killed."
            return WorkerStalled(what, "Raise engine.stall_timeout if steps take longer here.")
        case Overdue.CANCEL:
            what = f"The engine did not let go of a cancelled job for {timeouts.cancel:g} s and was killed."
            return WorkerStalled(what)
        case Overdue.CHECK:
            what = f"The guardrail's text filters did not answer for {timeouts.check:g} s and their worker was killed."
            return WorkerStalled(what)
        case Overdue.EXIT | Overdue.DEATH:
            return WorkerDied(f"The worker listens no more and was killed. {worker.hung_up}".rstrip())


def _where(worker: CurrentWorker) -> str:
    at = worker.job.progress if worker.job is not None else None
    if at is None:
        return "it had not begun to report"
    return f"{at.stage!r}, step {at.step} of {at.steps}, chunk {at.chunk} of {at.chunks}"
