"""Where a supervisor stands, and how long it waits for what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from povwatch.errors import PovwatchError


class SupervisorState(StrEnum):
    """Where a supervisor stands; supervisor.py opens with the ways between them."""

    STOPPED = "stopped"
    """There is no worker, and none is wanted."""
    LOADING = "loading"
    """The worker starts and loads its engine."""
    READY = "ready"
    """Loaded; waits for a job."""
    BUSY = "busy"
    """Has a job."""
    BACKOFF = "backoff"
    """The last worker is gone, or about to be; another comes after a pause."""
    STOPPING = "stopping"
    """Told to end."""


class InvalidState(PovwatchError):  # noqa: N818 - the word of h11 and cog for it
    """The call does not fit the supervisor's state; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that a supervisor waits for its worker."""

    load: float
    """From its start to a loaded engine."""
    stall: float
    """Until a job's progress changes."""
    heartbeat: float = 30.0
    """Until it says anything at all."""
    stop: float = 5.0
    """Until it exits when told to."""
    cancel: float = 60.0
    """Until it lets go of a cancelled job."""
    leave: float = 3.0
    """Until it exits by itself when it has nothing more to do."""
    stack: float = 0.5
    """Until it has printed where it hangs, before it is killed for that."""
    terminate: float = 1.0
    """From SIGTERM to SIGKILL."""
    burial: float = 10.0
    """Until it is gone once killed; freeing much GPU memory takes some."""
    last_burial: float = 1.5
    """The same when the daemon stops, which has little time."""


class Log(Protocol):
    """What is needed of a logger; structlog's fits."""

    def info(self, event: str, **fields: Any) -> Any:  # noqa: ANN401
        """Something went as it should."""

    def warning(self, event: str, **fields: Any) -> Any:  # noqa: ANN401
        """Something to look at."""
