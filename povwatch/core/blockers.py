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
    asked: bool = False
    """Whether people asked for it; the machine itself could go on."""


class Source(Protocol):
    """Something that may keep every job from starting."""

    @property
    def blocker(self) -> Blocker | None:
        """The reason; None if it holds nothing up."""


class EngineSource(Source, Protocol):
    """Something that may keep the engine from taking jobs."""

    def given_up(self, times: int) -> bool:
        """Whether it failed so often in a row that --once no longer waits for it."""


class Blockers:
    """Everything that may hold all jobs up. The most general reason wins."""

    def __init__(self, *, faults: Sequence[Source], schedule: Source, engine: Sequence[EngineSource]) -> None:
        """Ask these sources from now on.

        Args:
            faults: what nobody wants: folders that are away, disks that are full.
            schedule: whether people want jobs to start.
            engine: whether the engine can take jobs.
        """
        self._faults = faults
        self._schedule = schedule
        self._engine = engine

    def fault(self) -> Blocker | None:
        """Why even work under way cannot be finished."""
        return _first(self._faults)

    def starting(self) -> Blocker | None:
        """Why no work may begin for any job."""
        return self.fault() or self._schedule.blocker

    def engine(self) -> Blocker | None:
        """Why the engine takes no job."""
        return _first(self._engine)

    def generating(self) -> Blocker | None:
        """Why no worker gets a job."""
        return self.starting() or self.engine()

    def given_up(self, times: int) -> bool:
        """Whether no job can start, and what keeps jobs from it does not change by itself, or failed `times` times."""
        return self.starting() is not None or any(source.given_up(times) for source in self._engine)


def _first(sources: Sequence[Source]) -> Blocker | None:
    return next((found for source in sources if (found := source.blocker) is not None), None)
