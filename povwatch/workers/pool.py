"""Runs the daemon's engine: its workers' supervisors, and repeated checks whether the machine can run it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from povwatch.core.blockers import Blocker
from povwatch.core.events import say
from povwatch.core.job import Waiting
from povwatch.core.retry import backoff
from povwatch.engines.choice import MEMORY_NEEDED, unable, workers
from povwatch.engines.devices import strangers
from povwatch.gpu import host_memory
from povwatch.gpu.preflight import Preflight
from povwatch.models.weigh import weights
from povwatch.workers.launch import gpus_of, launches
from povwatch.workers.load_turns import LoadGate
from povwatch.workers.other_processes import of_workers
from povwatch.workers.places import Place, label
from povwatch.workers.states import Timeouts
from povwatch.workers.supervisor import Supervisor

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from povwatch.config.settings import Config
    from povwatch.core.background import Background
    from povwatch.core.clock import Clock
    from povwatch.engines.choice import Choice
    from povwatch.gpu.headroom import Refusal
    from povwatch.gpu.monitor import GpuMonitor
    from povwatch.gpu.nvml import Gpus
    from povwatch.queue.schedule import Schedule
    from povwatch.workers.availability import Availability
    from povwatch.workers.crew import Crew
    from povwatch.workers.launch import Launch
    from povwatch.workers.process import WorkerProcess

MANY = 1000
"""More than the GPUs of any machine."""

PROBE_MAX = 300.0
"""Longest pause in seconds between two checks whether the engine can run."""


class EngineRoom:
    """Starts the engine when this machine can run it, and each worker when its GPU has room."""

    def __init__(
        self,
        config: Config,
        choice: Choice,
        *,
        schedule: Schedule,
        clock: Clock,
        background: Background,
        monitor: GpuMonitor,
        availability: Availability,
        crew: Crew,
        wake: Callable[[], None],
        worker: Callable[..., WorkerProcess],
    ) -> None:
        self._config = config
        self._choice = choice
        self._schedule = schedule
        self._clock = clock
        self._background = background
        self._monitor = monitor
        self._availability = availability
        self._crew = crew
        self._wake = wake
        self._worker = worker
        self._needs = 0
        """Bytes of the host's memory that a load may take."""
        self._probes = 0
        self._probe_at = 0.0
        self.started = False
        """Whether the workers were started. Until then, the machine cannot run the engine."""
        monitor.watch(self._seen)

    def start(self) -> None:
        """Start the workers, or report why they cannot be started."""
        if not self._choice.problem:
            self._start(self._monitor.latest)
            return
        problem = f"{self._choice.problem}."
        self._availability.engine = Blocker(Waiting.ENGINE_UNAVAILABLE, problem)
        self._plan()
        say("engine-unavailable", engine=self._choice.kind, problem=problem, at=self._clock.spell(self._probe_at))

    def tick(self, now: float) -> None:
        """Check again whether this machine can run the engine; the pauses grow."""
        if self.started or now < self._probe_at or self._background.busy("probe"):
            return
        self._plan()
        self._monitor.ask(self._probe)

    # -- helpers

    def _probe(self, gpus: Gpus) -> None:
        def then(outcome: str | Exception) -> None:
            if outcome == "":
                self._start(gpus)
            elif isinstance(outcome, str):
                self._availability.engine = Blocker(Waiting.ENGINE_UNAVAILABLE, f"{outcome}.")

        if not self.started and not self._background.busy("probe"):
            self._background.submit("probe", then, _look, self._choice.kind, self._config, gpus)

    def _start(self, gpus: Gpus) -> None:
        """Start the workers on the GPUs that are there now; at the daemon's start there may have been none."""
        self.started = True
        self._availability.engine = None
        if missing := strangers(gpus, self._config.engine.devices) if self._choice.kind in MEMORY_NEEDED else []:
            say("devices-missing", missing=", ".join(missing))
        self._needs = weights(self._choice.kind, self._config)
        if self._schedule.blocker is None:
            say("engine-loading", engine=self._choice.kind)
        new, wanted = self._new(gpus), self._config.engine.workers
        if wanted != "auto" and len(new) < wanted:
            say("workers-fewer", wanted=wanted, many=len(new))
        self._crew.add(new)

    def _seen(self, gpus: Gpus) -> None:
        """Give new GPUs a worker: a GPU may have come, or become large enough together with others."""
        if not self.started or self._choice.kind not in MEMORY_NEEDED:
            return
        for place in (new := self._new(gpus)):
            say("worker-added", label=place.label)
        self._crew.add(new)

    def _new(self, gpus: Gpus) -> list[Place]:
        """The workers that could be added."""
        there = self._crew.places
        taken = [uuid for place in there for uuid in place.gpus]
        wanted = self._config.engine.workers
        if self._choice.kind not in MEMORY_NEEDED:
            wanted = workers(self._choice.kind, self._config, gpus)
        many = MANY if wanted == "auto" else wanted
        found = launches(self._config, replace(self._choice, workers=many), gpus, taken=taken, number=len(there))
        return [self._place(launch, number, gpus) for number, launch in enumerate(found, len(there) + 1)]

    def _place(self, launch: Launch, number: int, gpus: Gpus) -> Place:
        engine, uuids = self._config.engine, gpus_of(launch)
        indices = tuple(gpu.index for uuid in uuids for gpu in gpus.found if gpu.uuid == uuid)
        name = label(number, indices)
        preflight = Preflight(
            uuids,
            MEMORY_NEEDED.get(self._choice.kind, 0),
            clock=self._clock,
            monitor=self._monitor,
            ours=lambda gpus: of_workers(gpus, self._crew.pids),
            told=lambda no, retry_at, news: self._told(no, retry_at, news, name),
        )
        gate = LoadGate(
            preflight,
            self._needs,
            label=name,
            closed=lambda: self._schedule.blocker.problem if self._schedule.blocker else "",
            under_way=lambda: self._crew.loading,
            available=host_memory.available,
        )
        supervisor = Supervisor(
            launch,
            Timeouts(load=engine.load_timeout, stall=engine.stall_timeout),
            clock=self._clock,
            new_process=partial(self._worker, clock=self._clock.boot, wake=self._wake),
        )
        return Place(supervisor, uuids, preflight, gate, number, indices)

    def _told(self, no: Refusal | None, retry_at: float, news: bool, name: str) -> None:  # noqa: FBT001 - a callback's
        """Report whether a worker may start on its GPU now, or why not."""
        if no is None:
            self._availability.room_again()
            where = f" ({name})" if len(self._crew.places) > 1 else ""
            say("gpu-room", engine=self._choice.kind, where=where)
            return
        others = self._crew.loaded
        self._availability.load_failed(no.kind, no.problem, retry_at, others=others, label=name, news=news)

    def _plan(self) -> None:
        self._probes += 1
        self._probe_at = self._clock.boot() + min(backoff(self._probes) * 5, PROBE_MAX)


def _look(_: threading.Event, kind: str, config: Config, gpus: Gpus) -> str:
    return unable(kind, config, gpus)
