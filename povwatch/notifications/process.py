"""The daemon's side of the process that sends notices.

Under systemd the daemon has no network. There povwatch-notify.service sends, and POVWATCH_NOTIFIER=unit says so.
"""

from __future__ import annotations

import os
import sys
from contextlib import closing
from typing import TYPE_CHECKING

from povwatch.core.events import say
from povwatch.core.machine_faults import Place, blamed
from povwatch.core.retry import backoff
from povwatch.notifications.targets import entries
from povwatch.process.child import Child
from povwatch.process.output import Lines
from povwatch.process.start import child_environment, describe_end

if TYPE_CHECKING:
    from povwatch.config.settings import Config
    from povwatch.core.clock import Clock
    from povwatch.notifications.spool import NoticeSpool

VARIABLE = "POVWATCH_NOTIFIER"
"""The variable of the daemon's environment that says who sends: `unit`, or the daemon's own child if it is not set."""

UNIT = "unit"

FLUSH_PATIENCE = 15.0
"""Seconds that --once waits at its end for the last messages."""

BUSY_PAUSE = 60.0
"""Seconds until it is started again if another process sends the notices."""


def by_unit() -> bool:
    """Whether a unit of its own sends the notices."""
    return os.environ.get(VARIABLE) == UNIT


def started(config: Config, *, check: bool) -> Child:
    """Start a child of notifications/child.py, with its task. `check`: it only checks the entries.

    Raises:
        OSError: it cannot be started.
    """
    child = Child.start([sys.executable, "-I", "-m", "povwatch.notifications.child"], env=child_environment())
    child.send({"check": check, "state": str(config.paths.state), "entries": entries(config.notify)})
    return child


class SenderProcess:
    """Keeps a child that sends the notices. It is started when it is first needed, and again if it ends."""

    def __init__(self, config: Config, clock: Clock, spool: NoticeSpool) -> None:
        self._config = config
        self._clock = clock
        self._spool = spool
        self._child: Child | None = None
        self._printed = Lines(longest=4000, kept=1)
        self._failures = 0
        self._start_at = 0.0

    def tick(self, now: float) -> None:
        """Log what it says, and start it if there is none. `now` is on the boot clock."""
        if self._child is not None:
            self._listen(self._child, 0.0)
        elif now >= self._start_at and self._spool.names():
            self._start()

    def stop(self, *, flush: bool) -> None:
        """End it.

        Args:
            flush: let it send first what still waits, for some seconds at most: no daemon follows this one.
        """
        child, self._child = self._child, None
        if child is None:
            return
        with closing(child):
            child.send({"flush": flush})
            deadline = self._clock.boot() + (FLUSH_PATIENCE if flush else 1.0)
            while child.open and (left := deadline - self._clock.boot()) > 0:
                self._hear(child, left)

    def _start(self) -> None:
        try:
            self._child = started(self._config, check=False)
        except OSError as error:
            known = blamed(error, Place.PROCESS, "the process that sends notifications")
            self._failed(known.what if known else f"no process could be started: {error}.")

    def _listen(self, child: Child, seconds: float) -> None:
        self._hear(child, seconds)
        if child.open or self._child is None:
            return
        status = child.wait()
        child.close()
        self._child = None
        self._printed.end()
        last = f" Its last words: {self._printed.tail[-1]}" if self._printed.tail else ""
        self._failed(f"the process that sends them {describe_end(status)}.{last}")

    def _hear(self, child: Child, seconds: float) -> None:
        answers, output = child.listen(seconds)
        self._printed.take(output)
        for answer in answers:
            if "log" in answer:
                event, fields = answer["log"]
                say(event, **fields)
                self._failures = 0
            elif answer.get("busy") and self._child is not None:
                self._child.close()
                self._child = None
                self._start_at = self._clock.boot() + BUSY_PAUSE
                return

    def _failed(self, problem: str) -> None:
        self._failures += 1
        self._start_at = self._clock.boot() + backoff(self._failures + 4)
        say("notify-unavailable", problem=problem, at=self._clock.spell(self._start_at))
