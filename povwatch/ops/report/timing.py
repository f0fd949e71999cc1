"""Computes how long a job was in each state, from its history. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING

from povwatch.core.job import JobState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.journal.reader import Event

UNDER_WAY = frozenset({JobState.RUNNING, JobState.CHECKING})
"""The states of an attempt until its result is promised."""

GOOD = UNDER_WAY | {JobState.PUBLISHING}
"""The states of an attempt that has not failed."""


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt, by the wall clock."""

    begun: float
    ended: float
    lost: bool
    """Whether it failed."""


@dataclass(slots=True)
class Timing:
    """The times of a job."""

    seconds: dict[JobState, float] = field(default_factory=dict)
    """Total seconds in each state."""
    runs: list[Run] = field(default_factory=list)
    """Its attempts, in order; the last one may be running."""
    queued_at: float | None = None
    """When it was first in the queue."""
    ended_at: float | None = None

    @property
    def lost(self) -> float | None:
        """Seconds of failed attempts; None if there were none."""
        found = [run.ended - run.begun for run in self.runs if run.lost]
        return round(sum(found), 3) if found else None


def timing(events: Sequence[Event], now: float) -> Timing:
    """Add up a job's history.

    Args:
        events: oldest first.
        now: the end of the last state, unless the job has ended.
    """
    found = Timing()
    begun: float | None = None
    seen = sorted(events, key=lambda event: event.at)  # a clock that was set back makes no time negative
    for event, after in zip_longest(seen, seen[1:]):
        state = JobState(event.state)
        if state.ended:
            found.ended_at = event.at if found.ended_at is None else found.ended_at
            continue
        if state is JobState.QUEUED and found.queued_at is None:
            found.queued_at = event.at
        until = max(now, event.at) if after is None else after.at
        found.seconds[state] = round(found.seconds.get(state, 0.0) + until - event.at, 3)
        if state in UNDER_WAY:
            begun = event.at if begun is None else begun
            onward = state if after is None else JobState(after.state)
            if after is None or onward not in UNDER_WAY:
                found.runs.append(Run(begun, until, lost=onward not in GOOD))
                begun = None
    return found
