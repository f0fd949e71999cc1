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
    """For people, as sentences."""
    until: float = float("inf")
    """On the boot clock."""
    asked: bool = False
    """Whether people asked for it; the machine itself could go on."""


class Source(Protocol):
    """Something that may keep every job from starting."""

    @property
    def blocker(self) -> Blocker | None:
        """The reason; None if it holds nothing up."""


class Engines(Protocol):
    """Whether the engine can take jobs."""

    def blocker(self, now: float) -> Blocker | None:
        """The reason why not; None if it can. `now` is on the boot clock."""


class Blockers:
    """Everything that may hold all jobs up. The most general reason wins."""

    def __init__(self, *, faults: Sequence[Source], schedule: Source, engines: Engines) -> None:
        """Ask these sources from now on.

        Args:
            faults: what nobody wants: folders that are away, disks that are full.
            schedule: whether people want jobs to start.
            engines: whether the engine can take jobs.
        """
        self._faults = faults
        self._schedule = schedule
        self._engines = engines

    def fault(self) -> Blocker | None:
        """Why even work under way cannot be finished."""
        return next((found for source in self._faults if (found := source.blocker) is not None), None)

    def starting(self) -> Blocker | None:
        """Why no work may begin for any job."""
        return self.fault() or self._schedule.blocker

    def generating(self, now: float) -> Blocker | None:
        """Why no worker gets a job. `now` is on the boot clock."""
        return self.starting() or self._engines.blocker(now)
