"""Computes what a worker is late with. Pure: a supervisor waits for exactly the deadlines that it enforces."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from povwatch.core.errors import WorkerDied, WorkerStalled
from povwatch.workers.states import SupervisorState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.workers.events import Loss
    from povwatch.workers.states import CurrentWorker

S = SupervisorState


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that a supervisor waits for its worker."""

    load: float
    """From the start of the process to a loaded engine."""
    stall: float
    """Until the job's progress changes."""
    heartbeat: float = 30.0
    """Until the worker sends anything at all."""
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
        case Overdue.EXIT | Overdue.DEATH:
            return WorkerDied(f"The worker listens no more and was killed. {worker.hung_up}".rstrip())


def _where(worker: CurrentWorker) -> str:
    at = worker.job.progress if worker.job is not None else None
    if at is None:
        return "it had not begun to report"
    return f"{at.stage!r}, step {at.step} of {at.steps}, chunk {at.chunk} of {at.chunks}"
