"""Clips on their way in, with time passed in: real files, a real journal, and a clock that stands until it is set."""

from __future__ import annotations

from support.built import Built

from povwatch.core.job import JobState

SETTLE = 5.0


class Arrivals(Built):
    """Clips on their way in. Those that have arrived stay in their grace, whose clock stands."""

    def __init__(self, folder):
        super().__init__(folder, arrival={"settle": f"{SETTLE}s"})

    @property
    def arrival(self):
        return self.app.arrival

    @property
    def arrived(self):
        return [job.path for job in self.app.store.in_state(JobState.GRACE)]

    @property
    def gone(self):
        """The clips whose jobs ended since they are gone."""
        return [job.path for job in self.app.store.ended.values() if job.detail == "the clip was deleted"]

    def until(self, when):
        """Let time pass, and have each clip looked at whenever that is due."""
        self.give_turns(self.arrival, when)

    def cancel(self):
        self.app.store.cancel(self.newest(), "`povwatch cancel` asked for it")
