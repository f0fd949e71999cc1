"""The one answer to why nothing starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.core.job import Waiting


@dataclass(frozen=True, slots=True)
class Blocker:
    """Why no job may start at present."""

    waiting: Waiting
    problem: str
    """As sentences."""
    until: float = float("inf")
    """On the boot clock."""
    asked: bool = False
    """Whether people want it so: the machine could."""


class Source(Protocol):
    """Something that may hold everything up."""

    @property
    def blocker(self) -> Blocker | None:
        """Why, if it does."""


class Engines(Protocol):
    """Whether the engine can take jobs."""

    def blocker(self, now: float) -> Blocker | None:
        """Why it cannot, at a time on the boot clock."""


class Blockers:
    """Everything that may hold jobs up, the most general first."""

    def __init__(self, *, faults: Sequence[Source], schedule: Source, engines: Engines) -> None:
        """Ask these from now on.

        Args:
            faults: what of it is wrong, and nobody's wish: folders that are away, disks that are full.
            schedule: whether people want jobs to start.
            engines: whether the engine can take them.
        """
        self._faults = faults
        self._schedule = schedule
        self._engines = engines

    def fault(self) -> Blocker | None:
        """Why not even what is under way can be finished."""
        return next((found for source in self._faults if (found := source.blocker) is not None), None)

    def starting(self) -> Blocker | None:
        """Why nothing new may be begun for a job."""
        return self.fault() or self._schedule.blocker

    def generating(self, now: float) -> Blocker | None:
        """Why no worker is given a job, at a time on the boot clock."""
        return self.starting() or self._engines.blocker(now)
