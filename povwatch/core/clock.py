"""The two clocks. Decisions of the daemon ask the injected Clock; pure modules get the time as an argument."""

from __future__ import annotations

import time

from povwatch.core.local_time import local, spell_moment


class Clock:
    """The daemon's clocks."""

    def boot(self) -> float:
        """Seconds since boot, sleep included; for every interval. Setting the clock does not move it."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def wall(self) -> float:
        """Seconds since the epoch; for times that are written down."""
        return time.time()

    def minute_of_day(self, wall: float) -> int:
        """The minute of the day that local clocks show at this time of the wall clock."""
        shown = local(wall)
        return shown.hour * 60 + shown.minute

    def spell(self, boot: float) -> str:
        """A time of the boot clock as local time for people; see `spell_moment`."""
        now = self.wall()
        return spell_moment(now + boot - self.boot(), now)
