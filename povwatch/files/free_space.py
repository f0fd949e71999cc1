"""Watches disk space. Below `disk.reserve` no clip is started or finished, until space is free again.

A promise is kept all the same: a rename needs no space.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from povwatch.core.blockers import Blocker
from povwatch.core.errors import DiskFull
from povwatch.core.events import say
from povwatch.core.job import Waiting
from povwatch.core.units import spell_size

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.config.settings import Config

MEASURE_EVERY = 5.0
"""Seconds between two checks."""


class FreeSpace:
    """Watches the disks of outputs/ and of the journal."""

    def __init__(self, config: Config) -> None:
        self._reserve = config.disk.reserve
        self._places = (config.paths.outputs, config.paths.state)
        self._next = 0.0
        self._full: Path | None = None
        self.blocker: Blocker | None = None
        """Why no job may start, if space is short."""

    def tick(self, now: float) -> None:
        """Check, if it is time."""
        if now < self._next:
            return
        self._next = now + MEASURE_EVERY
        self._check()

    def lacking(self) -> DiskFull | None:
        """Check now, before work that needs space. Returns the error if space is short."""
        self._check()
        if self.blocker is None:
            return None
        return DiskFull(self.blocker.problem, "Make room; it goes on by itself.")

    def _check(self) -> None:
        left = {where: free for where in self._places if (free := _free(where)) is not None}
        for where, free in left.items():
            if free < self._reserve:
                if self.blocker is None:
                    self._full = where
                    reserve = spell_size(self._reserve)
                    say("disk-full", where=where, free=spell_size(free), reserve=reserve)
                    # Without the exact figure: it is noted with every job, and must not change with every byte.
                    problem = f"{where} has less room left than disk.reserve ({reserve})."
                    self.blocker = Blocker(Waiting.DISK_FULL, problem)
                return
        if self._full in left:  # a disk that cannot be checked still counts as full
            say("disk-room", where=self._full, free=spell_size(left[self._full]))
            self.blocker = self._full = None


def _free(where: Path) -> int | None:
    """Free bytes on a folder's disk; None if unknown."""
    try:
        return shutil.disk_usage(where).free
    except OSError:
        return None
