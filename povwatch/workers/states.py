"""What a supervisor knows: where it stands, its worker, and the job that the worker has.

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
    """Where a supervisor stands; supervisor.py opens with the ways between them."""

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
    """The call does not fit the supervisor's state; nothing was changed."""


@dataclass(slots=True)
class CurrentJob:
    """The job that a worker was given."""

    request: Generate
    progressed_at: float
    """When its progress last changed; at first, when it was given to the worker."""
    started: bool = False
    """Whether the engine has it. A worker that dies before that died of something else."""
    progress: JobProgress | None = None
    cancel_why: str | None = None
    """Why it is no longer wanted; None while it is."""
    cancelled_at: float = 0.0


@dataclass(slots=True)
class CurrentWorker:
    """A worker, from the start of its process to its end."""

    process: WorkerProcess
    started_at: float
    heard_at: float
    """When it last said anything."""
    loaded_at: float | None = None
    capabilities: dict[str, Any] = field(default_factory=dict)
    """See port.Engine.load."""
    loading: tuple[str, float | None] = ("starting", None)
    """The stage of the load; and its fraction, 0 to 1, where that is known."""
    job: CurrentJob | None = None
    exit_by: float | None = None
    """When it has to have exited by itself; None while it may stay."""
    hung_up: str = ""
    """Why nothing more comes from it; empty while it can be heard."""
    terminated: bool = False
    """Whether it was sent SIGTERM."""
    killed_at: float | None = None
    unkillable: bool = False
    """Whether it was killed and stays; this was told."""
    untold: list[Event] = field(default_factory=list)
    """Events that are told once it is gone, and what it held on the GPU with it."""
    last_line: str = ""
    """What it printed last."""

    def forgive(self, seconds: float) -> None:
        """Do not count a time in which nothing ran."""
        self.started_at += seconds
        self.heard_at += seconds
        if self.job is not None:
            self.job.progressed_at += seconds
            self.job.cancelled_at += seconds
        if self.exit_by is not None:
            self.exit_by += seconds
        if self.killed_at is not None:
            self.killed_at += seconds
