"""The daemon's status: the service manager's line, and the facts that read-only commands find in the journal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from povwatch import __version__
from povwatch.core.job import JobState
from povwatch.engines.abilities import REAL

if TYPE_CHECKING:
    from povwatch.config.settings import Config
    from povwatch.core.blockers import Blocker
    from povwatch.engines.choice import Choice
    from povwatch.gpu.monitor import GpuMonitor
    from povwatch.journal.store import JobStore
    from povwatch.workers.availability import Availability
    from povwatch.workers.crew import Crew

NOTE_EVERY = 5.0
"""Seconds between two writes of the facts, which are only written if they changed."""


class StatusFacts:
    """Publishes the daemon's status."""

    def __init__(
        self,
        config: Config,
        choice: Choice,
        store: JobStore,
        *,
        crew: Crew,
        availability: Availability,
        monitor: GpuMonitor,
    ) -> None:
        self._config = config
        self._choice = choice
        self._store = store
        self._crew = crew
        self._availability = availability
        self._monitor = monitor
        self._noted: dict[str, object] = {}
        self._next = 0.0

    def status(self, blocker: Blocker | None) -> str:
        """One line: how many clips are in each state, and what blocks them."""
        counts = self._store.counts
        active = [f"{counts[state]} {state}" for state in JobState if counts[state] and not state.ended]
        text = ", ".join(active) or "nothing to do"
        if blocker := blocker or self._availability.blocker(self._store.clock.boot()):
            text += f"; {blocker.problem}"
        return text

    def tick(self, now: float, blocker: Blocker | None) -> None:
        """Write the facts, if it is time and they have changed."""
        blocked = blocker.problem if blocker else None
        news = bool(blocked) != bool(self._noted.get("blocked"))  # whoever said pause wants to see it at once
        if now < self._next and not news:
            return
        self._next = now + NOTE_EVERY
        engine_hurdle = self._availability.blocker(now)
        facts: dict[str, object] = {
            "pid": os.getpid(),
            "version": __version__,
            "inputs": str(self._config.paths.inputs),
            "outputs": str(self._config.paths.outputs),
            "engine": self._choice.kind,
            "why": self._choice.why,
            "guardrails": self._config.engine.guardrails if self._choice.kind in REAL else None,
            "problem": engine_hurdle.problem if engine_hurdle else None,
            "blocked": blocked,
            "workers": self._crew.facts(),
            "gpus": [
                {"index": g.index, "uuid": g.uuid, "name": g.name, "memory": g.memory, "free": g.free}
                for g in self._monitor.latest.found
            ],
        }
        if facts != self._noted:
            self._noted = facts
            self._store.journal.set_facts(daemon=facts)

    def close(self) -> None:
        """Remove the facts at a clean stop, so that the next start finds none."""
        self._store.journal.set_facts(daemon=None)
