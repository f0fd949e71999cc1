"""A clock that moves only when a test sets it."""

from povwatch.core.clock import Clock


class HandClock(Clock):
    """The daemon's two clocks, a fixed time apart."""

    def __init__(self):
        self.now = 1000.0

    def boot(self):
        return self.now

    def wall(self):
        return 1e9 + self.now

    def spell(self, boot):
        return f"{boot:.0f}"
