"""What a worker can be late with. Pure: what is awaited is exactly what is enforced."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from povwatch.errors import WorkerDied, WorkerStalled
from povwatch.workers.states import Limits, SupervisorState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.workers.events import Loss
    from povwatch.workers.life import Life

S = SupervisorState


class Overdue(StrEnum):
    """What is late."""

    BURIAL = "burial"
    """It was killed and is still there."""
    DEPARTURE = "departure"
    """It was to exit by itself and did not."""
    HEARTBEAT = "heartbeat"
    """It says nothing."""
    LOAD = "load"
    """The engine is not loaded."""
    LETTING_GO = "letting-go"
    """It still works on a cancelled job."""
    PROGRESS = "progress"
    """The job does not advance."""


def deadlines(life: Life, state: SupervisorState, limits: Limits) -> Iterator[tuple[float, Overdue]]:
    """When the worker will be late, and with what; the gravest first."""
    if life.unkillable and state is not S.STOPPING:
        return  # told already; only its end counts
    if life.killed_at is not None:
        yield life.killed_at + (limits.last_burial if state is S.STOPPING else limits.burial), Overdue.BURIAL
        return
    if life.leave_at is not None:
        yield life.leave_at, Overdue.DEPARTURE
    if state in (S.LOADING, S.READY, S.BUSY):
        yield life.heard_at + limits.heartbeat, Overdue.HEARTBEAT
    if state is S.LOADING:
        yield life.started_at + limits.load, Overdue.LOAD
    if state is S.BUSY and life.cancel_why is not None:
        yield life.cancelled_at + limits.cancel, Overdue.LETTING_GO
    if state is S.BUSY:
        yield life.moved_at + limits.stall, Overdue.PROGRESS


def loss(late: Overdue, life: Life, limits: Limits) -> Loss:
    """The error with which a worker is killed that is late with this."""
    match late:
        case Overdue.HEARTBEAT:
            what = f"The worker said nothing for {limits.heartbeat:g} s and was killed."
            return WorkerStalled(what, "It hung, or somebody stopped it; the log may say where.")
        case Overdue.LOAD:
            what = f"The engine was not loaded within {limits.load:g} s (stage {life.loading[0]!r}) and was killed."
            return WorkerStalled(what, "Raise engine.load_timeout if it needs longer here.")
        case Overdue.PROGRESS:
            what = f"The job made no progress for {limits.stall:g} s ({_where(life)}) and its worker was killed."
            return WorkerStalled(what, "Raise engine.stall_timeout if steps take longer here.")
        case Overdue.LETTING_GO:
            what = f"The engine did not let go of a cancelled job for {limits.cancel:g} s and was killed."
            return WorkerStalled(what)
        case Overdue.DEPARTURE | Overdue.BURIAL:
            return WorkerDied(f"The worker listens no more and was killed. {life.hung_up}".rstrip())


def _where(life: Life) -> str:
    at = life.progress
    if at is None:
        return "it had not begun to report"
    return f"{at.stage!r}, step {at.step} of {at.steps}, chunk {at.chunk} of {at.chunks}"
