"""The engine of this daemon: its workers' supervisors, and looking again and again whether the machine can run it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch import gpu
from povwatch.daemon.places import Hurdle
from povwatch.engine.choice import unable
from povwatch.engine.launch import launches
from povwatch.engine.supervisor import Supervisor
from povwatch.job import Waiting
from povwatch.retry import backoff
from povwatch.voice import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.config import Config
    from povwatch.daemon.availability import Availability
    from povwatch.daemon.background import Background
    from povwatch.daemon.clock import Clock
    from povwatch.daemon.dispatch import Dispatch
    from povwatch.engine.choice import Choice

PROBE_MAX = 300.0
"""Seconds between two looks whether the engine can be run, at most."""


class EngineRoom:
    """Starts the engine when this machine can run it."""

    def __init__(self, config: Config, choice: Choice, clock: Clock, background: Background) -> None:
        self._config = config
        self._choice = choice
        self._clock = clock
        self._background = background
        self._probes = 0
        self._probe_at = 0.0
        self.started = False
        """Whether the workers were started; until then the machine cannot run the engine."""

    def supervisors(self, wake: Callable[[], None]) -> list[Supervisor]:
        """One a worker; none is started yet."""
        engine = self._config.engine
        return [
            Supervisor(
                launch,
                load_timeout=engine.load_timeout,
                stall_timeout=engine.stall_timeout,
                clock=self._clock.boot,
                wake=wake,
                log=_Said(),
            )
            for launch in launches(self._config, self._choice, gpu.look())
        ]

    def start(self, dispatch: Dispatch, availability: Availability) -> None:
        """Start the workers, or say why they cannot be started."""
        if not self._choice.problem:
            self._start(dispatch, availability)
            return
        problem = f"{self._choice.problem}."
        availability.engine = Hurdle(Waiting.ENGINE_UNAVAILABLE, problem)
        self._plan()
        say("engine-unavailable", engine=self._choice.kind, problem=problem, at=self._clock.spell(self._probe_at))

    def tick(self, now: float, dispatch: Dispatch, availability: Availability) -> None:
        """Look again whether this machine can run the engine; less and less often."""
        if self.started or now < self._probe_at or self._background.busy("probe"):
            return
        self._plan()

        def then(outcome: str | Exception) -> None:
            if outcome == "":
                self._start(dispatch, availability)
            elif isinstance(outcome, str):
                availability.engine = Hurdle(Waiting.ENGINE_UNAVAILABLE, f"{outcome}.")

        self._background.submit("probe", lambda _: unable(self._choice.kind, self._config, gpu.look()), then)

    def _start(self, dispatch: Dispatch, availability: Availability) -> None:
        self.started = True
        availability.engine = None
        dispatch.start()

    def _plan(self) -> None:
        self._probes += 1
        self._probe_at = self._clock.boot() + min(backoff(self._probes) * 5, PROBE_MAX)


class _Said:
    """What a supervisor logs, in the words of voice.py."""

    def info(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - a field is whatever the sentence shows
        say(event, **fields)

    warning = info
