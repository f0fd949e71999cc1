"""How long a job was in each state, from its history. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from povwatch.job import JobState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.journal.reader import Event

UNDER_WAY = frozenset({JobState.RUNNING, JobState.CHECKING})
"""The states that an attempt goes through until its result is promised."""


@dataclass(slots=True)
class Timing:
    """What a history says."""

    seconds: dict[JobState, float] = field(default_factory=dict)
    """In each state that it was in, all times together."""
    lost: float = 0.0
    """Of attempts that came to nothing."""
    started_at: float | None = None
    ended_at: float | None = None


def timing(events: Sequence[Event], now: float) -> Timing:
    """Add a job's history up.

    Args:
        events: oldest first.
        now: until when the last state lasts, if it is no end.
    """
    found, attempt = Timing(), 0.0
    for event, after in zip(events, [*events[1:], None], strict=True):
        state = JobState(event.state)
        if event.event == "started" and found.started_at is None:
            found.started_at = event.at
        if state.ended:
            found.ended_at = event.at if found.ended_at is None else found.ended_at
            continue
        # A clock that was set back in between makes no time negative.
        lasted = max(0.0, (now if after is None else after.at) - event.at)
        found.seconds[state] = found.seconds.get(state, 0.0) + lasted
        if state in UNDER_WAY:
            attempt += lasted
            if after is not None and JobState(after.state) not in UNDER_WAY:
                if JobState(after.state) is not JobState.PUBLISHING:
                    found.lost += attempt
                attempt = 0.0
    return found
