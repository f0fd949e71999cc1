"""One worker's life, as its supervisor keeps it: what it is doing and when it last did something."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from povwatch.workers.events import Event, JobProgress
    from povwatch.workers.process import Item
    from povwatch.workers.protocol import Generate, Message


class Process(Protocol):
    """What a supervisor needs of a worker process; process.WorkerProcess is the real one."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def send(self, message: Message) -> bool:
        """See WorkerProcess.send."""

    def take(self) -> list[Item]:
        """See WorkerProcess.take."""

    def signal(self, number: int) -> None:
        """See WorkerProcess.signal."""

    def kill(self) -> None:
        """See WorkerProcess.kill."""

    def join(self, timeout: float) -> bool:
        """See WorkerProcess.join."""


@dataclass(slots=True)
class Life:
    """From the start of a process to its end. All times are on the supervisor's clock."""

    process: Process
    started_at: float
    heard_at: float
    """When it last said anything."""
    loaded_at: float | None = None
    capabilities: dict[str, Any] = field(default_factory=dict)
    loading: tuple[str, float | None] = ("starting", None)
    """Stage of the load, and its fraction where that is known."""
    request: Generate | None = None
    """The job at hand."""
    begun: bool = False
    """Whether the engine has the job at hand."""
    progress: JobProgress | None = None
    moved_at: float = 0.0
    """When the job's progress last changed."""
    cancel_why: str | None = None
    """Set when the job at hand is no longer wanted."""
    cancelled_at: float = 0.0
    leave_at: float | None = None
    """It ought to exit by itself; at this time it is made to."""
    hung_up: str = ""
    """Why its line is dead."""
    terminated: bool = False
    """It was sent SIGTERM."""
    killed_at: float | None = None
    unkillable: bool = False
    """It was killed and does not go away."""
    parting: list[Event] = field(default_factory=list)
    """What there is to tell once it is gone."""
    last_line: str = ""
    """What it printed last."""

    def shift(self, seconds: float) -> None:
        """Forget a time in which nobody ran."""
        self.started_at += seconds
        self.heard_at += seconds
        self.moved_at += seconds
        self.cancelled_at += seconds
        if self.leave_at is not None:
            self.leave_at += seconds
        if self.killed_at is not None:
            self.killed_at += seconds
