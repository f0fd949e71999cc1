"""The daemon's status: the service manager's line, and the facts that read-only commands find in the journal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from povwatch import __version__
from povwatch.core.job import JobState
from povwatch.daemon.drain import limited
from povwatch.engines.abilities import REAL
from povwatch.notifications.process import UNIT, by_unit
from povwatch.service.log import destination

if TYPE_CHECKING:
    from povwatch.daemon.app import App

NOTE_EVERY = 5.0
"""Seconds between two writes of the facts, which are only written if they changed."""


class StatusFacts:
    """Publishes the daemon's status."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._log = destination()
        """Where the log goes; it stays in the journal after the daemon's end."""
        self._noted: dict[str, object] = {}
        self._next = 0.0

    def line(self) -> str:
        """How many clips are in each state, and what blocks them."""
        app, counts = self._app, self._app.store.counts
        active = [f"{counts[state]} {state}" for state in JobState if counts[state] and not state.ended]
        text = ", ".join(active) or "nothing to do"
        blocker = app.blockers.generating()
        return f"{text}; {blocker.problem}" if blocker else text

    def tick(self, now: float) -> None:
        """Write the facts, if it is time and they have changed."""
        app, blocker = self._app, self._app.blockers.starting()
        news = bool(blocker) != bool(self._noted.get("blocked"))  # whoever said pause wants to see it at once
        if now < self._next and not news:
            return
        self._next = now + NOTE_EVERY
        unavailable = app.blockers.engine()
        facts: dict[str, object] = {
            "pid": os.getpid(),
            "version": __version__,
            "inputs": str(app.config.paths.inputs),
            "outputs": str(app.config.paths.outputs),
            "engine": app.choice.kind,
            "why": app.choice.why,
            "guardrails": app.config.engine.guardrails if app.choice.kind in REAL else None,
            "problem": unavailable.problem if unavailable else None,
            "blocked": blocker.problem if blocker else None,
            "limited": limited(app),
            "workers": app.pool.facts(),
            "pool": app.remote.facts() if app.remote else None,
            "gpus": [
                {"index": g.index, "uuid": g.uuid, "name": g.name, "memory": g.memory, "free": g.free}
                for g in app.monitor.latest.found
            ],
        }
        if facts != self._noted:
            self._noted = facts
            app.store.journal.set_facts(daemon=facts, log=self._log, notifier=UNIT if by_unit() else "child")

    def close(self) -> None:
        """Remove the facts at a clean stop, so that the next start finds none."""
        self._app.store.journal.set_facts(daemon=None)
