"""A supervisor's state, its worker, and the worker's job.

All times are seconds on the supervisor's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from povwatch.core.errors import PovwatchError

if TYPE_CHECKING:
    from povwatch.workers.events import Event, JobProgress
    from povwatch.workers.process import WorkerProcess
    from povwatch.workers.protocol import Generate


class SupervisorState(StrEnum):
    """A supervisor's state; supervisor.py lists the transitions."""

    STOPPED = "stopped"
    """There is no worker, and none is wanted."""
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
    progress: JobProgress | None = None
    cancel_why: str | None = None
    """Why the job is cancelled; None if it is not."""
    cancelled_at: float = 0.0


@dataclass(slots=True)
class CurrentWorker:
    """A worker, from the start of its process to its end."""

    process: WorkerProcess
    started_at: float
    heard_at: float
    """When it last sent anything."""
    loaded_at: float | None = None
    capabilities: dict[str, Any] = field(default_factory=dict)
    """See port.Engine.load."""
    loading: tuple[str, float | None] = ("starting", None)
    """Stage of the load, and its fraction, 0 to 1, if known."""
    job: CurrentJob | None = None
    exit_by: float | None = None
    """Time by which it has to exit by itself; None while it may stay."""
    hung_up: str = ""
    """Why no more messages come from it; empty while the channel is open."""
    terminated: bool = False
    """Whether it was sent SIGTERM."""
    killed_at: float | None = None
    unkillable: bool = False
    """Whether it was killed and stays; this was reported."""
    untold: list[Event] = field(default_factory=list)
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
        if self.exit_by is not None:
            self.exit_by += seconds
        if self.killed_at is not None:
            self.killed_at += seconds
