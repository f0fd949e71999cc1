"""Waits, in the middle of a step, while the journal's disk is full or may not be written.

SQLite rolls a refused transaction back, so nothing of it is on the disk. The step has not gone on: it logged, started
and showed nothing that the journal does not have. When the disk takes files again, the journal repeats the same
statements (`Journal._step`) and the step goes on. To everything else this is a slow commit: workers and threads work
on, and their messages wait for the loop.
"""

from __future__ import annotations

import errno
import os
import tempfile
from typing import TYPE_CHECKING

from povwatch.core.events import say
from povwatch.core.machine_faults import JOURNAL_TAKES_IT, TABLE, Place, translated

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.core.clock import Clock
    from povwatch.core.errors import PovwatchError
    from povwatch.core.waker import Waker
    from povwatch.journal import JournalFailed
    from povwatch.service.notify import Notifier

TEST_BYTES = 1 << 20
"""Bytes that the disk must take before the journal is tried again: some hundred changes of jobs."""

TRIES_MAX = 3
"""Tries in a row if SQLite was refused a write although the disk takes files."""

ALIVE_EVERY = 1.0
"""Seconds between two messages to the service manager."""


class JournalWait:
    """Waits until the journal can be written."""

    def __init__(self, state: Path, *, clock: Clock, waker: Waker, notifier: Notifier) -> None:
        self._state = state
        self._clock = clock
        self._waker = waker
        self._notifier = notifier
        self.stopped = False
        """Whether the daemon was told to stop."""
        self._spared = 0
        """How often in a row the disk took a file after it had refused the journal a write."""
        self.problem: PovwatchError | None = None
        """Why the journal cannot be written; None while it can."""

    def wait(self, error: JournalFailed, times: int) -> None:
        """Wait a while after the journal refused a change `times` times in a row.

        Raises:
            JournalFailed: `error`, if waiting does not help or the daemon was told to stop.
        """
        problem = self._refusal(error)
        if problem is None:
            raise error
        if self.stopped:
            self.problem = problem
            raise error
        if self.problem is None:
            say("journal-full", problem=str(problem))
            self._notifier.ready(str(problem))  # the manager must not time out a waiting start
        self.problem = problem
        until = self._clock.boot() + JOURNAL_TAKES_IT.pause(times)
        while (left := until - self._clock.boot()) > 0.0:
            self._notifier.watchdog()
            self._waker.sleep(min(left, ALIVE_EVERY))
            if self.stopped:
                raise error
        self._waker.wake()  # events that ended these sleeps are still to be handled

    def over(self) -> None:
        """The journal can be written again."""
        self._spared = 0
        if self.problem is not None:
            self.problem = None
            say("journal-back", state=self._state)

    def _refusal(self, error: JournalFailed) -> PovwatchError | None:
        """What keeps the journal from being written; None if it does not pass. A test file on the disk shows it."""
        if not error.refused:
            return None
        try:
            with tempfile.TemporaryFile(dir=self._state) as file:
                file.write(bytes(TEST_BYTES))
                file.flush()
                os.fsync(file.fileno())
        except OSError as refused:
            row = TABLE.get((refused.errno or 0, Place.JOURNAL))
            passes = row is not None and row.until is JOURNAL_TAKES_IT
            self._spared = 0
            return translated(refused, Place.JOURNAL, str(self._state)) if passes else None
        self._spared += 1
        # After a failed sync, only the disk's own report that it is full counts as passing.
        if self._spared > TRIES_MAX or (error.unsynced and self.problem is None):
            return None
        return self.problem or translated(
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), Place.JOURNAL, str(self._state)
        )
