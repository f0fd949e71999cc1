"""Whether people want clips to start now: `povwatch pause`, and engine.hours. Running jobs are finished in any case."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.core.blockers import Blocker
from povwatch.core.command import command
from povwatch.core.events import say
from povwatch.core.job import Waiting
from povwatch.core.local_time import local
from povwatch.core.sentences import joined

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.core.clock import Clock
    from povwatch.core.hours import Hours
    from povwatch.journal import Journal


PAUSE = "paused"
"""The journal's fact of a pause: `by`, who paused, and `at`, seconds since the epoch."""


class Schedule:
    """Keeps clips from starting when people want that."""

    def __init__(self, hours: Hours, journal: Journal, clock: Clock) -> None:
        """Read the journal's record of a pause, which survives a restart."""
        self._hours = hours
        self._journal = journal
        self._clock = clock
        self._paused = journal.fact(PAUSE)
        self._seen_at = 0.0
        self._opens_at: float | None = None
        """When the hours begin again, on the wall clock; None if unknown."""
        self.blocker: Blocker | None = None
        """Why no clip may start; None if clips may."""

    def tick(self) -> None:
        """Check the clock, and log a change."""
        was, self.blocker = self.blocker, self._now()
        if self.blocker is not None and (was is None or was.problem != self.blocker.problem):
            say("closed", problem=self.blocker.problem)
        elif was is not None and self.blocker is None:
            say("open")

    def pause(self, who: str) -> str:
        """Start no more clips from now on; the answer as a sentence."""
        if self._paused is None:
            self._paused = {"by": who, "at": self._clock.wall()}
            self._journal.set_facts(**{PAUSE: self._paused})
        self.tick()
        return joined(describe_pause(self._paused), "What runs is finished.")

    def resume(self) -> tuple[bool, str]:
        """Start clips again; whether that changes anything, and the answer as a sentence."""
        if self._paused is None:
            self.tick()
            return False, f"it is not paused. {self.blocker.problem}" if self.blocker else "it is not paused."
        self._paused = None
        self._journal.set_facts(**{PAUSE: None})
        self.tick()
        return True, f"it goes on, but not yet: {self.blocker.problem}" if self.blocker else "it goes on."

    def _now(self) -> Blocker | None:
        if self._paused is not None:
            return Blocker(Waiting.PAUSED, describe_pause(self._paused), asked=True)
        wall = self._clock.wall()
        if self._hours.open_at(self._clock.minute_of_day(wall)):
            self._opens_at = None
            return None
        if self._opens_at is None or not self._seen_at <= wall < self._opens_at:  # the clock may have been set
            self._opens_at = self._hours.next_change(wall, self._clock.minute_of_day)
        self._seen_at = wall
        at = self._clock.spell(self._opens_at - wall + self._clock.boot()) if self._opens_at else "never"
        return Blocker(Waiting.PAUSED, f"Outside of engine.hours ({self._hours.text}): it goes on at {at}.", asked=True)


def describe_pause(paused: Mapping[str, Any]) -> str:
    """Who paused and when, and how to resume, as a sentence."""
    at = local(paused["at"]).strftime("%Y-%m-%d %H:%M:%S")
    return f"Paused by {paused['by']} at {at}; it goes on with {command('resume')}."
