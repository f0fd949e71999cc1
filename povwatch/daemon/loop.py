"""The daemon itself: one loop drives all its parts, until it is told to stop or nothing is left to do.

Signal handlers set and wake; the loop acts. Nothing in the loop waits but its sleep, and whatever takes longer runs in
`Background` or in a worker.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING

from povwatch import __version__
from povwatch.arrival.writers import ignore_sigio
from povwatch.daemon.parts import Parts
from povwatch.daemon.recovery import recover
from povwatch.engine.abilities import REAL
from povwatch.notify import Notifier
from povwatch.voice import say

if TYPE_CHECKING:
    from povwatch.config import Config
    from povwatch.daemon.summary import Outcome

REQUESTS_EVERY = 0.5
"""Seconds between two looks into the spool."""

SAMPLE_EVERY = 3.0
"""Seconds between two looks at the GPUs while a worker generates."""

LOOK_EVERY = 15.0
"""The same while none does."""

STOP_PATIENCE = 8.0
"""Seconds for workers to end; the manager's own limit is longer."""


class Daemon:
    """One povwatch."""

    def __init__(self, config: Config, *, once: bool = False) -> None:
        """Put it together. The journal is locked; nothing is recovered or watched yet.

        Raises:
            ConfigError: the configuration does not fit this machine, or another daemon has the journal.
            JournalError: the journal cannot be used.
        """
        self._config = config
        self._once = once
        self._notifier = Notifier.from_environment()
        self._parts = Parts(config)
        self._requests_at = 0.0
        self._stop: str | None = None

    # -- the life of a daemon

    def run(self) -> Outcome:
        """Run until told to stop; with --once, until nothing can move any more.

        Returns:
            What became of the clips.
        """
        self._set_signals()
        try:
            self._start()
            while self._stop is None and not (self._once and self._parts.drain.over()):
                self._turn()
                self._parts.waker.sleep(self._pause())
            return self._parts.drain.outcome()
        finally:
            self._end()

    def stop(self, why: str) -> None:
        """End at the next turn. Safe to call from a signal handler."""
        self._stop = why
        self._parts.waker.wake()

    def _start(self) -> None:
        parts, paths = self._parts, self._config.paths
        say("daemon-started", version=__version__, inputs=paths.inputs, outputs=paths.outputs, pid=os.getpid())
        say("engine-chosen", engine=parts.choice.kind, why=parts.choice.why)
        if parts.choice.kind in REAL and not self._config.engine.guardrails:
            say("guardrails-off")
        parts.spool.prepare()
        parts.spool.sweep(parts.clock.wall())
        parts.root.keep()
        crashed = parts.journal.fact("daemon") is not None  # `_end` takes it back
        recover(parts.ledger, parts.gates, parts.endings, parts.finisher, parts.publisher, crashed=crashed)
        parts.hooks.recover()
        parts.lookout.start()
        if parts.lookout.away is None:
            parts.folder.sweep()
        parts.opening.tick()
        parts.engine_room.start()
        parts.facts.tick(parts.clock.boot(), parts.hurdle())
        self._notifier.ready(parts.facts.status(parts.hurdle()))

    def _turn(self) -> None:
        """One turn of the loop."""
        parts = self._parts
        now = parts.clock.boot()
        parts.background.settle()
        parts.inspections.settle()
        parts.lookout.tick(now)
        if parts.lookout.away is None:
            parts.intake.tick(now)
            parts.gates.tick(now)
            parts.notices.tick(now, parts.present)
        if now >= self._requests_at:
            self._requests_at = now + REQUESTS_EVERY
            parts.verbs.tick(now)
        parts.opening.tick()
        parts.outputs_watch.tick(now)
        parts.free_space.tick(now)
        parts.eye.tick(now, every=SAMPLE_EVERY if parts.crew.generating else LOOK_EVERY)
        parts.gpu_faults.tick(now)
        parts.engine_room.tick(now)
        parts.hooks.tick(now, hurdle=parts.hurdle(), fault=parts.fault())
        parts.dispatch.tick(now, hurdle=parts.hurdle())
        parts.finisher.tick(now)
        parts.facts.tick(now, parts.hurdle())
        self._notifier.status(parts.facts.status(parts.hurdle()))
        self._notifier.watchdog()

    def _pause(self) -> float:
        parts = self._parts
        deadlines = [
            parts.lookout.next_deadline(),
            parts.intake.next_deadline(),
            parts.gates.next_deadline(),
            parts.hooks.next_deadline(),
            parts.dispatch.next_deadline(),
            parts.finisher.next_deadline(),
            parts.eye.next_deadline(),
            self._requests_at,
        ]
        return min(d for d in deadlines if d is not None) - parts.clock.boot()

    def _end(self) -> None:
        """Stop the workers, hand back what runs, close everything; all of it in seconds."""
        parts = self._parts
        if self._stop is not None:
            say("daemon-stopping", why=self._stop)
        self._notifier.stopping()
        with ExitStack() as closing:  # whatever fails on the way, the rest is done: nothing of ours outlives us
            for close in (parts.waker.close, self._notifier.close, parts.journal.close):
                closing.callback(close)
            closing.callback(parts.dispatch.close)
            closing.callback(parts.hooks.close)
            closing.callback(parts.background.close)
            closing.callback(parts.inspections.close)
            parts.lookout.stop()
            parts.hooks.stop()
            parts.crew.stop(f"povwatch stops ({self._stop or 'all is done'}).")
            parts.gpu_faults.stop()
            deadline = parts.clock.boot() + STOP_PATIENCE
            while not parts.crew.stopped and parts.clock.boot() < deadline:
                parts.waker.sleep(0.1)
                parts.dispatch.settle(parts.clock.boot())
            parts.inspections.close()
            parts.background.close()
            parts.hooks.close()
            parts.dispatch.close()
            parts.facts.close()
            parts.notices.save()
        if self._stop is not None:
            say("daemon-stopped", left=sum(n for state, n in parts.ledger.counts.items() if not state.ended))

    def _set_signals(self) -> None:
        ignore_sigio()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda n, _: self.stop(signal.Signals(n).name))
