"""The daemon itself: one loop drives all its parts, until it is told to stop or nothing is left to do.

Signal handlers set and wake; the loop acts. Nothing in the loop waits but its sleep, and whatever takes longer runs in
`Background` or in a worker.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from povwatch import __version__
from povwatch.arrival.writers import ignore_sigio
from povwatch.core.events import say
from povwatch.core.scope import ALL
from povwatch.daemon.app import Parts
from povwatch.daemon.journal_wait import JournalWait
from povwatch.daemon.outside import Outside
from povwatch.daemon.recovery import recover, sweep
from povwatch.daemon.summary import Outcome
from povwatch.daemon.view import View, Viewer
from povwatch.engines.abilities import REAL
from povwatch.journal import JournalFailed
from povwatch.service.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.config.settings import Config
    from povwatch.core.scope import Scope

REQUESTS_EVERY = 0.5
"""Seconds between two looks into the spool."""

SAMPLE_EVERY = 3.0
"""Seconds between two looks at the GPUs while a worker generates."""

LOOK_EVERY = 15.0
"""The same while none does."""

DISPLAY_EVERY = 0.5
"""Seconds between two looks at everything for a display."""

STOP_PATIENCE = 8.0
"""Seconds for workers to end; the manager's own limit is longer."""


class Display(Protocol):
    """Where somebody sees how far everything is."""

    def show(self, view: View) -> None:
        """Show it."""

    def close(self) -> None:
        """Show nothing any more."""


class Daemon:
    """One povwatch."""

    def __init__(
        self,
        config: Config,
        *,
        once: bool = False,
        scope: Scope = ALL,
        display: Display | None = None,
        outside: Outside | None = None,
    ) -> None:
        """Put it together. The journal is locked; nothing is recovered or watched yet.

        Args:
            config: the configuration.
            once: end when nothing can move any more.
            scope: the clips that it is for.
            display: shown how far everything is.
            outside: what its parts are given of the world; as it is, if left out.

        Raises:
            ConfigError: the configuration does not fit this machine, or another daemon has the journal.
            JournalError: the journal cannot be used.
        """
        self._config = config
        self._once = once
        self._notifier = Notifier.from_environment()
        outside = outside or Outside()
        self._stop: str | None = None
        self.journal_wait = JournalWait(
            config.paths.state,
            clock=outside.clock,
            waker=outside.waker,
            notifier=self._notifier,
            stopped=lambda: self._stop is not None,
        )
        self.parts = self._put_together(config, scope, outside)
        self._display = display
        self._viewer = Viewer(self.parts)
        self._display_at = 0.0
        self._outcome = Outcome(())
        self._drained = False
        self._requests_at = 0.0
        self._starts: dict[str, Callable[[], None]] = {}
        """What is not started yet."""
        if not once:  # which ends where nothing can move
            self.parts.journal.patience = self.journal_wait

    def _put_together(self, config: Config, scope: Scope, outside: Outside) -> Parts:
        """The parts; while the journal's disk is full, wait for them too."""
        times = 0
        while True:
            try:
                parts = Parts(config, scope, outside)
            except JournalFailed as error:
                if self._once:
                    raise
                times += 1
                self.journal_wait.wait(error, times)
            else:
                self.journal_wait.over()
                return parts

    # -- the life of a daemon

    def run(self) -> Outcome:
        """Run until told to stop; with --once, until nothing can move any more.

        Returns:
            What became of the clips.
        """
        self._set_signals()
        try:
            self._live()
        except JournalFailed:
            if self._stop is None or self.journal_wait.problem is None:
                raise
            # Told to stop while the journal's disk is full: the next start goes on from what the journal has.
            say("daemon-stopped", left=sum(n for state, n in self.parts.store.counts.items() if not state.ended))
        return self._outcome

    def _live(self) -> None:
        try:
            self._start()
            while self._stop is None and not (self._once and self._over()):
                self._turn()
                self.parts.mishaps.tried("display", self._show, self.parts.clock.boot())
                self.parts.waker.sleep(self._pause())
            self._drained = True
        finally:
            self._end()

    def _signalled(self, number: int) -> None:
        """End in good order; a second Ctrl-C ends it at once, and its workers with it (PR_SET_PDEATHSIG).

        What a kill leaves behind is settled at the next start, as after any crash: recovery.py.
        """
        if self._stop is None or number != signal.SIGINT:
            self.stop(signal.Signals(number).name)
            return
        if self._display is not None:
            self._display.close()  # it may have hidden the terminal's cursor
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)

    def stop(self, why: str) -> None:
        """End at the next turn. Safe to call from a signal handler."""
        self._stop = why
        self.parts.waker.wake()

    def _start(self) -> None:
        parts, paths = self.parts, self._config.paths
        say("daemon-started", version=__version__, inputs=paths.inputs, outputs=paths.outputs, pid=os.getpid())
        say("engine-chosen", engine=parts.choice.kind, why=parts.choice.why)
        if parts.choice.kind in REAL and not self._config.engine.guardrails:
            say("guardrails-off")
        parts.spool.prepare()
        parts.spool.sweep(parts.clock.wall())
        parts.root.keep()
        crashed = parts.journal.fact("daemon") is not None  # `_end` takes it back
        known = (parts.store, parts.gates, parts.failed_attempts, parts.finisher)
        self._starts = {
            "recovery": lambda: recover(*known, crashed=crashed, broken=parts.mishaps.of),
            "sweep": lambda: sweep(parts.store, parts.publisher),
            "recovery of hooks": parts.hooks.recover,
            "lookout": self._look_out,
            "opening": parts.schedule.tick,
            "engine room": parts.engine_room.start,
        }
        self._go_on_starting()
        parts.mishaps.tried("facts", parts.facts.tick, parts.clock.boot(), parts.blocker())
        self._notifier.ready(parts.facts.status(parts.blocker()))

    def _look_out(self) -> None:
        self.parts.folder_monitor.start()
        if self.parts.folder_monitor.away is None:
            self.parts.folder.sweep()

    def _go_on_starting(self) -> None:
        """Start what is not started yet, one after the other."""
        for name, start in list(self._starts.items()):
            if not self.parts.mishaps.tried(name, start):
                return
            del self._starts[name]

    def _turn(self) -> None:
        """One turn of the loop."""
        parts, tried = self.parts, self.parts.mishaps.tried
        now = parts.clock.boot()
        parts.mishaps.tick(now)
        self._go_on_starting()
        if not self._starts:
            self._tick(now)
        tried("status", lambda: self._notifier.status(parts.facts.status(parts.blocker())))
        self._notifier.watchdog()

    def _tick(self, now: float) -> None:
        parts, tried = self.parts, self.parts.mishaps.tried
        tried("background", parts.background.settle)
        tried("inspections", parts.inspections.settle)
        tried("walks", parts.walks.settle)
        tried("decodes", parts.decodes.settle)
        tried("lookout", parts.folder_monitor.tick, now)
        if parts.folder_monitor.away is None:
            tried("intake", parts.arrival.tick, now)
            tried("gates", parts.gates.tick, now)
            tried("notices", parts.error_files.tick, now, parts.present)
        if now >= self._requests_at:
            self._requests_at = now + REQUESTS_EVERY
            tried("verbs", parts.verbs.tick, now)
        tried("opening", parts.schedule.tick)
        tried("outputs watch", parts.outputs_watch.tick, now)
        tried("free space", parts.free_space.tick, now)
        tried("eye", lambda: parts.monitor.tick(now, every=SAMPLE_EVERY if parts.crew.generating else LOOK_EVERY))
        tried("GPU faults", parts.gpu_faults.tick, now)
        tried("engine room", parts.engine_room.tick, now)
        tried("hooks", lambda: parts.hooks.tick(now, blocker=parts.blocker(), fault=parts.fault()))
        tried("dispatch", lambda: parts.dispatch.tick(now, blocker=parts.blocker()))
        tried("finisher", parts.finisher.tick, now)
        tried("facts", lambda: parts.facts.tick(now, parts.blocker()))

    def _pause(self) -> float:
        parts = self.parts
        asked = {
            "lookout": parts.folder_monitor.next_deadline,
            "intake": parts.arrival.next_deadline,
            "gates": parts.gates.next_deadline,
            "hooks": parts.hooks.next_deadline,
            "dispatch": parts.dispatch.next_deadline,
            "finisher": parts.finisher.next_deadline,
            "eye": parts.monitor.next_deadline,
            "mishaps": parts.mishaps.next_deadline,
        }
        deadlines = [self._requests_at, self._display_at if self._display is not None else None]
        for name, ask in asked.items():
            parts.mishaps.tried(f"{name}'s deadline", lambda ask=ask: deadlines.append(ask()))
        return min(d for d in deadlines if d is not None) - parts.clock.boot()

    def _over(self) -> bool:
        """With --once, whether nothing can move any more."""
        found: list[bool] = []
        self.parts.mishaps.tried("drain", lambda: found.append(self.parts.drain.over()))
        return any(found) and not self._starts

    def _show(self, now: float) -> None:
        if self._display is not None and now >= self._display_at:
            self._display_at = now + DISPLAY_EVERY
            self._display.show(self._viewer.look(now))

    def _end(self) -> None:
        """Stop the workers, hand back what runs, close everything; all of it in seconds."""
        parts = self.parts
        if self._stop is not None:
            again = ". What runs is handed back; Ctrl-C once more ends it at once" if self._stop == "SIGINT" else ""
            say("daemon-stopping", why=f"{self._stop}{again}")
        self._notifier.stopping()
        with ExitStack() as closing:  # whatever fails on the way, the rest is done: nothing of ours outlives us
            for close in (parts.waker.close, self._notifier.close, parts.journal.close, parts.arrival.close):
                closing.callback(close)
            closing.callback(parts.dispatch.close)
            closing.callback(parts.hooks.close)
            closing.callback(parts.background.close)
            closing.callback(parts.inspections.close)
            closing.callback(parts.walks.close)
            closing.callback(parts.decodes.close)
            tried = parts.mishaps.tried
            tried("end of the lookout", parts.folder_monitor.stop)
            tried("end of the hooks", parts.hooks.stop)
            tried("end of the workers", parts.crew.stop, f"povwatch stops ({self._stop or 'all is done'}).")
            tried("end of the GPU faults", parts.gpu_faults.stop)
            tried("last words of the workers", self._hear_last_words)
            for close in (parts.decodes.close, parts.walks.close, parts.inspections.close, parts.background.close):
                close()
            tried("closing of the hooks", parts.hooks.close)
            tried("closing of the workers", parts.dispatch.close)
            if self._drained:
                tried("summary", self._sum_up)
            tried("last facts", parts.facts.close)
            tried("last notices", parts.error_files.save)
        if self._stop is not None:
            say("daemon-stopped", left=sum(n for state, n in parts.store.counts.items() if not state.ended))

    def _hear_last_words(self) -> None:
        parts = self.parts
        deadline = parts.clock.boot() + STOP_PATIENCE
        while not parts.crew.stopped and parts.clock.boot() < deadline:
            parts.waker.sleep(0.1)
            parts.dispatch.settle(parts.clock.boot())

    def _sum_up(self) -> None:
        self._outcome = replace(self.parts.drain.outcome(), stopped=self._stop is not None)

    def _set_signals(self) -> None:
        ignore_sigio()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                signal.signal(number, lambda n, _: self._signalled(n))
