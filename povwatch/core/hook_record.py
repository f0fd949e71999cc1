"""What the journal remembers of a hook of a job. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class HookState(StrEnum):
    """Where a hook of a job stands."""

    RUNNING = "running"
    """After a crash, one that is found so was interrupted."""
    WAITING = "waiting"
    """It was tried, and will be again."""
    DONE = "done"
    """It ended well, and its files are there."""
    SKIPPED = "skipped"
    """`once`: it was not needed."""
    FAILED = "failed"
    """Given up."""

    @property
    def over(self) -> bool:
        """Whether it does not run again for this job."""
        return self in {HookState.DONE, HookState.SKIPPED, HookState.FAILED}


@dataclass(frozen=True, slots=True)
class HookRun:
    """A hook of a job. Times are seconds since the epoch."""

    job: int
    hook: str
    """Its name."""
    state: HookState
    attempts: int = 0
    """Charged so far, as a job's are."""
    crashes: int = 0
    """How often the daemon or the machine went down while it ran."""
    source_hash: str | None = None
    """Of the clip that it ran for."""
    spec_hash: str | None = None
    """Of the spec that there was then."""
    seconds: float | None = None
    """That it took, when it is done."""
    error: str | None = None
    """What its last attempt ended with, and what to do."""
    updated_at: float = 0.0
