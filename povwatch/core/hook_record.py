"""The journal's record of one hook of one job. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class HookState(StrEnum):
    """Where a hook stands for one job."""

    RUNNING = "running"
    """A hook found so after a crash was interrupted."""
    WAITING = "waiting"
    """It was tried, and will be tried again."""
    DONE = "done"
    """It succeeded, and left its expected files."""
    SKIPPED = "skipped"
    """`once`: it did not have to run."""
    FAILED = "failed"
    """Given up."""

    @property
    def over(self) -> bool:
        """Whether it never runs again for this job."""
        return self in {HookState.DONE, HookState.SKIPPED, HookState.FAILED}


@dataclass(frozen=True, slots=True)
class HookRecord:
    """How one hook stands for one job. Times are seconds since the epoch."""

    job: int
    hook: str
    """The hook's name."""
    state: HookState
    attempts: int = 0
    """Attempts charged so far, as for a job."""
    crashes: int = 0
    """How often the daemon or the machine went down while it ran."""
    source_hash: str | None = None
    """Hash of the clip that it ran for."""
    spec_hash: str | None = None
    """Hash of the spec at that time."""
    seconds: float | None = None
    """How long it took, once it is done."""
    error: str | None = None
    """How its last attempt failed, and what to do."""
    updated_at: float = 0.0
