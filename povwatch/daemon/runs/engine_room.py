"""The engine of this daemon: its workers' supervisors, and looking again and again whether the machine can run it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from povwatch.daemon.gpus.neighbours import of_workers
from povwatch.daemon.gpus.preflight import Preflight
from povwatch.daemon.runs.places import Hurdle, Place
from povwatch.engine.choice import MEMORY_NEEDED, unable, workers
from povwatch.engine.launch import gpus_of, launches
from povwatch.engine.supervisor import Supervisor
from povwatch.job import Waiting
from povwatch.retry import backoff
from povwatch.voice import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.config import Config
    from povwatch.daemon.background import Background
    from povwatch.daemon.clock import Clock
    from povwatch.daemon.gpus.eye import GpuEye
    from povwatch.daemon.runs.availability import Availability
    from povwatch.daemon.runs.crew import Crew
    from povwatch.engine.choice import Choice
    from povwatch.engine.headroom import Refusal
    from povwatch.engine.process import Launch
    from povwatch.gpu import Gpus

PROBE_MAX = 300.0
"""Seconds between two looks whether the engine can be run, at most."""


class EngineRoom:
    """Starts the engine when this machine can run it, and each of its workers when its GPU has room."""

    def __init__(
        self,
        config: Config,
        choice: Choice,
        *,
        clock: Clock,
        background: Background,
        eye: GpuEye,
        availability: Availability,
        crew: Crew,
        wake: Callable[[], None],
    ) -> None:
        """Make it.

        Args:
            config: the configuration.
            choice: what runs.
            clock: the time.
            background: where it is looked whether the machine can run it.
            eye: looks at the GPUs.
            availability: told why the engine cannot be used.
            crew: gets the workers.
            wake: called from threads when a worker has something to say.
        """
        self._config = config
        self._choice = choice
        self._clock = clock
        self._background = background
        self._eye = eye
        self._availability = availability
        self._crew = crew
        self._wake = wake
        self._probes = 0
        self._probe_at = 0.0
        self.started = False
        """Whether the workers were started; until then the machine cannot run the engine."""

    def start(self) -> None:
        """Start the workers, or say why they cannot be started."""
        if not self._choice.problem:
            self._start(self._eye.latest)
            return
        problem = f"{self._choice.problem}."
        self._availability.engine = Hurdle(Waiting.ENGINE_UNAVAILABLE, problem)
        self._plan()
        say("engine-unavailable", engine=self._choice.kind, problem=problem, at=self._clock.spell(self._probe_at))

    def tick(self, now: float) -> None:
        """Look again whether this machine can run the engine; less and less often."""
        if self.started or now < self._probe_at or self._background.busy("probe"):
            return
        self._plan()
        self._eye.ask(self._probe)

    # -- helpers

    def _probe(self, gpus: Gpus) -> None:
        def then(outcome: str | Exception) -> None:
            if outcome == "":
                self._start(gpus)
            elif isinstance(outcome, str):
                self._availability.engine = Hurdle(Waiting.ENGINE_UNAVAILABLE, f"{outcome}.")

        if not self.started and not self._background.busy("probe"):
            self._background.submit("probe", lambda _: unable(self._choice.kind, self._config, gpus), then)

    def _start(self, gpus: Gpus) -> None:
        """Start the workers on the GPUs that are there now; at the daemon's own start there may have been none."""
        self.started = True
        self._availability.engine = None
        choice = replace(self._choice, workers=workers(self._choice.kind, self._config, gpus))
        self._crew.start([self._place(launch) for launch in launches(self._config, choice, gpus)])

    def _place(self, launch: Launch) -> Place:
        engine, uuids = self._config.engine, gpus_of(launch)
        preflight = Preflight(
            uuids,
            MEMORY_NEEDED.get(self._choice.kind, 0),
            clock=self._clock,
            eye=self._eye,
            ours=lambda gpus: of_workers(gpus, self._crew.pids),
            told=self._told,
        )
        supervisor = Supervisor(
            launch,
            load_timeout=engine.load_timeout,
            stall_timeout=engine.stall_timeout,
            clock=self._clock.boot,
            wake=self._wake,
            log=_Said(),
            clear=preflight,
        )
        return Place(supervisor, uuids, preflight)

    def _told(self, no: Refusal | None, retry_at: float, news: bool) -> None:  # noqa: FBT001 - a callback's
        """A worker may be started on its GPU now, or why not."""
        if no is None:
            self._availability.room_again()
            say("gpu-room", engine=self._choice.kind)
            return
        self._availability.load_failed(no.kind, no.problem, retry_at, others=self._crew.loaded, news=news)

    def _plan(self) -> None:
        self._probes += 1
        self._probe_at = self._clock.boot() + min(backoff(self._probes) * 5, PROBE_MAX)


class _Said:
    """What a supervisor logs, in the words of voice.py."""

    def info(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - a field is whatever the sentence shows
        say(event, **fields)

    warning = info
