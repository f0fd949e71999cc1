"""The daemon's loop drives the app until it is told to stop or nothing is left to do.

Signal handlers set and wake; the loop acts. Only the second Ctrl-C ends the daemon at once. The loop waits in its
sleep; ARCHITECTURE.md names the exceptions. Longer work runs in `Background` or in a worker.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Protocol

from povwatch import __version__
from povwatch.arrival.writers import ignore_sigio
from povwatch.core.events import say
from povwatch.core.scope import ALL
from povwatch.daemon.app import App
from povwatch.daemon.doubts import doubts
from povwatch.daemon.drain import Outcome, is_drained, outcome
from povwatch.daemon.journal_wait import JournalWait
from povwatch.daemon.outside import Outside
from povwatch.daemon.recovery import recover, sweep
from povwatch.daemon.requests import Requests
from povwatch.daemon.status import StatusFacts
from povwatch.daemon.view import View, view
from povwatch.engines import held_folder
from povwatch.engines.abilities import REAL
from povwatch.journal import JournalFailed
from povwatch.service.notify import Notifier

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.config.settings import Config
    from povwatch.core.scope import Scope

REQUESTS_EVERY = 0.5
"""Seconds between two reads of the spool."""

SAMPLE_EVERY = 3.0
"""Seconds between two samples of the GPUs while a worker generates."""

IDLE_SAMPLE_EVERY = 15.0
"""Seconds between two samples of the GPUs while none generates."""

DISPLAY_EVERY = 0.5
"""Seconds between two updates of the display."""

STOP_PATIENCE = 8.0
"""Seconds that workers get to end; the service manager's own limit is longer."""


class Display(Protocol):
    """Shows people the progress of everything."""

    def show(self, view: View) -> None:
        """Show this view."""

    def close(self) -> None:
        """Stop showing."""


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
        """Build the app. The journal is locked; nothing is recovered or watched yet.

        Args:
            once: end when nothing can go on by itself.
            scope: the clips that it handles.
            display: shows the progress.
            outside: the clock, the watcher, the workers and so on; production's by default.

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
            config.paths.state, clock=outside.clock, waker=outside.waker, notifier=self._notifier
        )
        self.app = self._build_app(config, scope, outside)
        self._display = display
        self._requests = Requests(self.app)
        self._facts = StatusFacts(self.app)
        self._display_at = 0.0
        self._outcome = Outcome(())
        self._drained = False
        self._requests_at = 0.0
        self._starts: dict[str, Callable[[], None]] = {}
        """Start-up steps that have not succeeded yet."""
        if not once:  # --once ends where nothing can go on
            self.app.journal.patience = self.journal_wait

    def _build_app(self, config: Config, scope: Scope, outside: Outside) -> App:
        """Build the app, and wait while the journal's disk is full."""
        times = 0
        while True:
            try:
                app = App(config, scope, outside)
            except JournalFailed as error:
                if self._once:
                    raise
                times += 1
                self.journal_wait.wait(error, times)
            else:
                self.journal_wait.over()
                return app

    # -- the life of a daemon

    def run(self) -> Outcome:
        """Run until told to stop; with --once, until nothing can go on by itself."""
        self._set_signals()
        try:
            self._live()
        except JournalFailed:
            if self._stop is None or self.journal_wait.problem is None:
                raise
            # Stopped while the journal's disk is full: the next start goes on from the journal.
            say("daemon-stopped", left=sum(n for state, n in self.app.store.counts.items() if not state.ended))
        return self._outcome

    def _live(self) -> None:
        try:
            self._start()
            while self._stop is None and not (self._once and self._over()):
                self._turn()
                self.app.mishaps.tried("display", self._show, self.app.clock.boot())
                self.app.waker.sleep(self._pause())
            self._drained = True
        finally:
            self._end()

    def _signalled(self, number: int) -> None:
        """Stop in good order. A second Ctrl-C ends the daemon at once, and its workers with it (PR_SET_PDEATHSIG).

        The next start settles what a kill leaves behind, as after any crash: see recovery.py.
        """
        if self._stop is None or number != signal.SIGINT:
            self.stop(signal.Signals(number).name)
            return
        if self._display is not None:
            self._display.close()  # it may have hidden the terminal's cursor
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)

    def stop(self, why: str) -> None:
        """Stop at the next turn. Safe to call from a signal handler."""
        self._stop = why
        self.journal_wait.stopped = True
        self.app.waker.wake()

    def _start(self) -> None:
        app, paths = self.app, self._config.paths
        say("daemon-started", version=__version__, inputs=paths.inputs, outputs=paths.outputs, pid=os.getpid())
        say("engine-chosen", engine=app.choice.kind, why=app.choice.why)
        if app.choice.kind in REAL and not self._config.engine.guardrails:
            say("guardrails-off")
        for event, fields in doubts(self._config, app.templates, app.abilities):
            say(event, None, **fields)
        app.spool.prepare()
        app.spool.sweep(app.clock.wall())
        app.root.keep()
        app.notifications.start()
        self._starts = {
            "recovery": lambda: recover(app.store, app.mishaps),
            "sweep": lambda: sweep(app.store, app.publisher.staging),
            "recovery of hooks": app.hooks.recover,
            "folder monitor": self._start_watching,
            "schedule": app.schedule.tick,
            "temporary folders": held_folder.sweep,
            "worker pool": app.pool.start,
            **({"remote workers": app.remote.start} if app.remote else {}),
        }
        self._go_on_starting()
        app.mishaps.tried("status facts", self._facts.tick, app.clock.boot())
        self._notifier.ready(self._facts.line())

    def _start_watching(self) -> None:
        self.app.folder_monitor.start()
        if self.app.root.away is None:
            self.app.folder.sweep()

    def _go_on_starting(self) -> None:
        """Take the remaining start-up steps, in order."""
        for name, start in list(self._starts.items()):
            if not self.app.mishaps.tried(name, start):
                return
            del self._starts[name]

    def _turn(self) -> None:
        """One turn of the loop."""
        app, tried = self.app, self.app.mishaps.tried
        now = app.clock.boot()
        app.mishaps.tick(now)
        self._go_on_starting()
        if not self._starts:
            self._tick(now)
        tried("status", lambda: self._notifier.status(self._facts.line()))
        self._notifier.watchdog()

    def _tick(self, now: float) -> None:
        app, tried = self.app, self.app.mishaps.tried
        tried("background", app.background.handle_results)
        tried("inspections", app.inspections.handle_results)
        tried("schedule", app.schedule.tick)
        tried("outputs watch", app.outputs_watch.tick, now)
        tried("free space", app.free_space.tick, now)
        tried(
            "GPU monitor",
            lambda: app.monitor.tick(now, every=SAMPLE_EVERY if app.pool.generating else IDLE_SAMPLE_EVERY),
        )
        tried("GPU faults", app.gpu_faults.tick, now)
        tried("worker pool", app.pool.tick, now)
        for name, part in app.parts.items():
            if app.root.away is None or not part.needs_inputs:
                tried(name, part.tick, now)
        tried("prompt checks", app.prompt_checks.tick, now)  # workers that the run stage has left idle check prompts
        if app.root.away is None:
            tried("error files", app.error_files.tick, now)
        if now >= self._requests_at:
            self._requests_at = now + REQUESTS_EVERY
            tried("requests", self._requests.tick, now)
        tried("status facts", self._facts.tick, now)

    def _pause(self) -> float:
        app = self.app
        asked: dict[str, Callable[[], float | None]] = {
            "GPU monitor": app.monitor.next_deadline,
            "mishaps": app.mishaps.next_deadline,
            "prompt checks": app.prompt_checks.next_deadline,
        }
        for name, part in app.parts.items():  # a deadline that no turn moves on would keep the loop awake
            if app.root.away is None or not part.needs_inputs:
                asked[name] = part.next_deadline
        deadlines = [self._requests_at, self._display_at if self._display is not None else None]
        for name, ask in asked.items():
            app.mishaps.tried(f"{name}'s deadline", lambda ask=ask: deadlines.append(ask()))
        return min(d for d in deadlines if d is not None) - app.clock.boot()

    def _over(self) -> bool:
        """With --once: whether nothing can go on by itself."""
        found: list[bool] = []
        self.app.mishaps.tried("drain", lambda: found.append(is_drained(self.app)))
        return any(found) and not self._starts

    def _show(self, now: float) -> None:
        if self._display is not None and now >= self._display_at:
            self._display_at = now + DISPLAY_EVERY
            self._display.show(view(self.app, now))

    def _end(self) -> None:
        """Stop the workers, hand running jobs back, close everything; within seconds."""
        app = self.app
        if self._stop is not None:
            again = ". What runs is handed back; Ctrl-C once more ends it at once" if self._stop == "SIGINT" else ""
            say("daemon-stopping", why=f"{self._stop}{again}")
        self._notifier.stopping()
        why = f"povwatch stops ({self._stop or 'all is done'})."
        steps: list[tuple[str, Callable[[], object]]] = [
            ("end of the folder monitor", app.folder_monitor.stop),
            ("end of the hooks", app.hooks.stop),
            *([("end of the remote workers", partial(app.remote.hang_up, why))] if app.remote else []),
            ("end of the workers", lambda: app.pool.stop(why)),
            ("end of the prompt checks", lambda: app.prompt_checks.stop(why)),
            ("end of the GPU faults", app.gpu_faults.stop),
            ("last words of the workers", self._wait_for_workers),
            ("closing of the inspections", app.inspections.close),
            ("closing of the background", app.background.close),
            ("closing of the hooks", app.hooks.close),
            ("closing of the workers", app.run.close),
            *([("closing of the remote workers", app.remote.close)] if app.remote else []),
            ("closing of the prompt checks", app.prompt_checks.close),
            ("temporary folders of workers that were killed", held_folder.sweep),
            *([("summary", self._sum_up)] if self._drained else []),
            ("end of the notifications", lambda: app.notifications.stop(flush=self._once and self._stop is None)),
            ("last metrics", app.metrics.close),
            ("last facts", self._facts.close),
            ("last error files", app.error_files.save),
            *([("closing of the page", app.page.close)] if app.page else []),
            ("closing of inputs/", app.arrival.close),
            ("closing of the journal", app.journal.close),
            ("closing of the notifier", self._notifier.close),
            ("closing of the waker", app.waker.close),
        ]
        with ExitStack() as closing:  # whatever fails, the rest is closed: nothing outlives the daemon
            for name, step in reversed(steps):
                closing.callback(app.mishaps.tried, name, step)
        if self._stop is not None:
            say("daemon-stopped", left=sum(n for state, n in app.store.counts.items() if not state.ended))

    def _wait_for_workers(self) -> None:
        app = self.app
        deadline = app.clock.boot() + STOP_PATIENCE
        while not app.pool.stopped and app.clock.boot() < deadline:
            app.waker.sleep(0.1)
            app.run.handle_worker_events(app.clock.boot())

    def _sum_up(self) -> None:
        self._outcome = outcome(self.app, stopped=self._stop is not None)

    def _set_signals(self) -> None:
        ignore_sigio()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                signal.signal(number, lambda n, _: self._signalled(n))
