"""A wall clock that steps, for the daemon alone; the boot clock and the machine's own clock are left as they are.

What is covered: `time.time` in the daemon's process, which is `Clock.wall` and with it every time in the journal, every
pause until the next attempt, the age of editors' locks and answers. What is not: `datetime.now` (the log, a manifest's
`finished_at`), the workers' and media children's clocks, and the times of files.
libfaketime would cover those, but it has to be preloaded, which takes a start from nothing each time.
"""

from __future__ import annotations

import mmap
import struct
import time
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_OFFSET = struct.Struct("d")


class SteppedClock:
    """How far off the daemon's wall clock is; kept in a file, so that it goes on over restarts."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(_OFFSET.pack(0.0))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 0)
        self.before: Callable[[], None] = partial(_begin, str(file))
        """What a daemon has to call before it begins."""

    @property
    def off(self) -> float:
        """Seconds."""
        return float(_OFFSET.unpack(self._map[:])[0])

    def step(self, seconds: float) -> None:
        """Set it forward, or back."""
        self._map[:] = _OFFSET.pack(self.off + seconds)


def _begin(file: str) -> None:
    with open(file, "rb") as opened:  # noqa: PTH123 - in a process that is about to be a daemon
        offset = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
    real = time.time
    time.time = lambda: real() + _OFFSET.unpack(offset[:])[0]
