"""The worker pool: starts a worker for each share of the GPUs, and knows why no worker can take a job.

A worker's process starts if clips may start (`povwatch pause`, engine.hours), the host has memory for another load, and
NVML, asked anew, sees enough free memory on the worker's GPUs.

Workers on other machines come and go: remote/workers.py brings them, and they leave when they are gone. Whatever is
about GPUs, memory and processes here concerns this machine's own workers alone.

The run stage gives the workers jobs and handles the events about jobs. gpu_faults.py ends workers whose GPU failed.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any

from povwatch.core.blockers import Blocker
from povwatch.core.errors import GpuBusy
from povwatch.core.events import say
from povwatch.core.job import Waiting
from povwatch.core.machine_faults import KINDS
from povwatch.core.mailbox import Gauge
from povwatch.core.retry import backoff
from povwatch.core.sentences import joined
from povwatch.core.units import spell_duration
from povwatch.engines.choice import memory_needed, unable
from povwatch.engines.devices import strangers
from povwatch.gpu import host_memory
from povwatch.gpu.headroom import crowded, describe_processes, neighbours, refusal
from povwatch.gpu.usage import GpuUsage
from povwatch.models.missing import weights_size
from povwatch.workers import events, places
from povwatch.workers.launch import launches
from povwatch.workers.places import Places
from povwatch.workers.states import STARTING, SupervisorState, Timeouts
from povwatch.workers.supervisor import Supervisor

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from povwatch.attempt.attempt import Attempt
    from povwatch.config.settings import Config
    from povwatch.core.background import Background
    from povwatch.core.blockers import Source
    from povwatch.core.clock import Clock
    from povwatch.core.errors import PovwatchError
    from povwatch.engines.choice import Choice
    from povwatch.gpu.monitor import GpuMonitor
    from povwatch.gpu.nvml import Gpus
    from povwatch.process.protocol import Progress
    from povwatch.workers.launch import Launch
    from povwatch.workers.places import Place
    from povwatch.workers.process import Process

PROBE_MAX = 300.0
"""Longest pause in seconds between two checks whether the engine can run."""

COPYING = "copying"
"""What an attempt's gauge says first."""

LAST_LINES = 30
"""Lines of a worker's output kept for a failure: a traceback and the lines before it."""

REMOTE_KILL = 4.0
"""Seconds from SIGKILL until a worker on another machine counts as gone, whether anybody answers there or not."""

EXCUSED_MAX = 3
"""How often another process on the GPU excuses the same job. A process that never leaves must not keep a clip that
needs more memory at the head of the queue for ever."""

_WAITS = {"gpu-lost": Waiting.GPU_LOST, "gpu-busy": Waiting.GPU_BUSY, "disk-full": Waiting.DISK_FULL}
"""Kinds of failed loads that have a reason to wait of their own."""


class WorkerPool:
    """The workers of this daemon. It adds workers when GPUs come, and loses those on other machines when these go."""

    def __init__(
        self,
        config: Config,
        choice: Choice,
        *,
        schedule: Source,
        clock: Clock,
        background: Background,
        monitor: GpuMonitor,
        new_process: Callable[[Launch], Process],
    ) -> None:
        self._config = config
        self._choice = choice
        self._schedule = schedule
        self._clock = clock
        self._background = background
        self._monitor = monitor
        self._new_process = new_process
        self.engine_kind = choice.kind
        """The engine's."""
        self._needed = memory_needed(choice.kind, config.engine)
        """Bytes of memory on each of a worker's GPUs; None if the engine needs no GPU."""
        self.workers: list[Worker] = []
        """This machine's own come first."""
        self.places = Places()
        """The other machines."""
        self.gpus_away = False
        """Whether no GPU of this machine can take a job at present; see gpu_faults.py."""
        self.blocker: Blocker | None = None
        """Why no worker has the engine loaded; None if one has it, or if it is being loaded."""
        self.lost: Counter[str] = Counter()
        """How many workers were lost since the start, by kind (events.loss_of), or could not load (`load-failed`)."""
        self.gpu_seconds = 0.0
        """Seconds for which GPUs generated since the start, each GPU counted."""
        self.gpu_joules = 0.0
        """Their energy, as far as NVML gives it."""
        self._started = False
        """Whether workers were started. Until then, the machine cannot run the engine."""
        self._load_bytes = 0
        """Bytes of the host's memory that a load may take."""
        self._probes = 0
        self._probe_at = 0.0
        self._excused: Counter[int] = Counter()
        """How often another process excused each job."""
        self._logged_abilities: list[tuple[str, dict[str, Any]]] = []
        """What the last worker that has loaded said of itself, as events with their fields."""
        self._logged_loads: set[str] = set()
        """Stages of loads that are logged."""
        self._judged: list[tuple[Worker, events.OutOfMemoryJudged]] = []
        """Events for the next poll."""
        monitor.watch(self._gpus_read)

    # -- its life

    def start(self) -> None:
        """Start this machine's workers, or report why they cannot be started."""
        if not self._choice.problem:
            self._start_workers(self._monitor.latest)
            return
        problem = f"{self._choice.problem}."
        if self._elsewhere_alone(self._monitor.latest):
            self._plan_probe()
            say("engine-elsewhere", engine=self.engine_kind, problem=problem)
            return
        self.blocker = Blocker(Waiting.ENGINE_UNAVAILABLE, problem)
        self._plan_probe()
        say("engine-unavailable", engine=self.engine_kind, problem=problem, at=self._clock.spell(self._probe_at))

    def tick(self, now: float) -> None:
        """Check again whether this machine can run the engine; the pauses grow."""
        if not self._started and now >= self._probe_at and not self._background.busy("probe"):
            self._plan_probe()
            self._monitor.ask(self._probe)

    def poll(self, now: float) -> Iterator[tuple[Worker, events.Event]]:
        """Read the workers' messages and the judgements of out of memory, and start the processes that are due."""
        judged, self._judged = self._judged, []
        yield from judged
        for worker in self.workers:
            for event in worker.supervisor.poll(now):
                yield worker, event
            self._start_due(worker, now)
        if any(worker.left for worker in self.workers):
            self.workers = [worker for worker in self.workers if not worker.left]

    def next_deadline(self) -> float | None:
        """When `poll` is due if nothing wakes the loop before; None if never."""
        if self._judged:
            return self._clock.boot()
        found = (worker.supervisor.next_deadline() for worker in self.workers)
        return min((deadline for deadline in found if deadline is not None), default=None)

    def stop(self, why: str) -> None:
        """Tell this machine's workers to end. Poll until `stopped`."""
        for worker in self.local:
            if worker.supervisor.state is not SupervisorState.STOPPED:
                worker.supervisor.stop(why)

    def close(self) -> None:
        """Kill the workers."""
        for worker in self.workers:
            worker.supervisor.close()

    def sample(self) -> None:
        """Record the use of the GPUs soon."""
        self._monitor.query_soon()  # every answer is recorded

    # -- its state

    @property
    def stopped(self) -> bool:
        """Whether every worker has ended."""
        return all(worker.supervisor.state is SupervisorState.STOPPED for worker in self.workers)

    @property
    def loaded(self) -> bool:
        """Whether any worker has the engine loaded."""
        return any(worker.supervisor.capabilities for worker in self.workers)

    @property
    def local(self) -> list[Worker]:
        """The workers of this machine."""
        return [worker for worker in self.workers if worker.place is None]

    @property
    def remote(self) -> list[Worker]:
        """The workers on other machines."""
        return [worker for worker in self.workers if worker.place is not None]

    @property
    def free(self) -> list[Worker]:
        """The workers that can take a job now, this machine's own first."""
        return [
            worker
            for worker in self.workers
            if worker.active is None
            and worker.supervisor.state is SupervisorState.READY
            and not (self.gpus_away and worker.gpus)
        ]

    @property
    def generating(self) -> int:
        """Number of workers that have a job."""
        return sum(worker.generating for worker in self.workers)

    @property
    def on_gpus(self) -> list[Worker]:
        """The workers that have a GPU."""
        return [worker for worker in self.workers if worker.gpus]

    def given_up(self, times: int) -> bool:
        """Whether no worker has the engine loaded, and each failed so often in a row. One that loads may succeed."""
        failing = all(worker.failures >= times for worker in self.local)
        return self.blocker is not None and (failing or not self._started)

    def count_use(self, worker: Worker, seconds: float, figures: Mapping[str, Any]) -> None:
        """Count what an attempt that generated for so many seconds has used of the worker's GPUs."""
        self.gpu_seconds += seconds * len(worker.gpus or worker.gpu_names)
        self.gpu_joules += float(figures.get("energy") or 0.0)

    def gpu_name(self, worker: Worker) -> str:
        """Name of a worker's GPU; empty without one, or if it is unknown."""
        here = (gpu.name for gpu in self._monitor.latest.found if gpu.uuid in worker.gpus)
        return next(iter(worker.gpu_names), "") if worker.place else next(here, "")

    def facts(self) -> list[dict[str, Any]]:
        """The workers, for `status`."""
        return [self._facts(worker) for worker in self.workers]

    def _facts(self, worker: Worker) -> dict[str, Any]:
        state, error = worker.supervisor.state, worker.supervisor.last_error
        if worker.shown_state is not state:
            worker.shown_state, worker.shown_since = state, round(self._clock.wall())
        return {
            "label": worker.label,
            "node": worker.place.name if worker.place else None,
            "pid": worker.supervisor.pid,
            "state": str(state),
            "since": worker.shown_since,
            "loading": worker.loading,
            "job": worker.active.job if worker.active else None,
            "gpu": self.gpu_name(worker),
            "gpus": list(worker.gpus),
            "waits": worker.waits,
            "problem": str(error) if error else None,
        }

    def _where(self, worker: Worker) -> str:
        """The worker in brackets, for the end of a sentence; empty if there is only one, which is here."""
        return f" ({worker.label})" if len(self.workers) > 1 or worker.place else ""

    # -- what the workers report about the engine

    def handle(self, worker: Worker, event: events.Event) -> None:
        """Handle an event about a worker or its engine."""
        match event:
            case events.EngineOutput():
                worker.log_output(event.line)
            case events.EngineLoaded():
                self.blocker = None
                worker.forget_lines()
                took, where = spell_duration(event.seconds), self._where(worker)
                say("engine-ready", engine=self.engine_kind, took=took, worker=worker.number, where=where)
                self._log_abilities(event.capabilities)
            case events.EngineUnavailable():
                self.lost["load-failed"] += 1
                worker.log_last_lines(event.failure_kind)
                self._unavailable(worker, event.failure_kind, joined(event.message, event.todo), event.retry_at)
                self._died(worker, event.message)
            case events.WorkerLost():
                self.lost[events.loss_of(event.error)] += 1
                worker.log_last_lines()
                if worker.place is None:
                    say("worker-lost", problem=str(event.error), worker=worker.number, where=self._where(worker))
                else:
                    say("remote-lost", problem=str(event.error), worker=worker.number, label=worker.label)
                if worker.active is None and worker.place is None:
                    self._block(events.failure_kind_of(event.error), str(event.error))
                self._died(worker, event.error.what)
            case events.WorkerLeft():
                worker.log_last_lines() if event.broken else worker.forget_lines()
                say("remote-left", label=worker.label, worker=worker.number, why=event.why)
                if event.broken:
                    self._died(worker, event.why)

    def _log_abilities(self, capabilities: dict[str, Any]) -> None:
        """Log how an engine computes, and what it expected of the machine and did not find; once for equal workers."""
        lines: list[tuple[str, dict[str, Any]]] = [
            ("engine-note", {"note": note}) for note in events.noted(capabilities)
        ]
        if attention := capabilities.get("attention"):
            compiled = "compiled" if capabilities.get("compiled") else "not compiled"
            lines.append(("engine-computes", {"attention": str(attention), "compiled": compiled}))
        for event, fields in lines:
            if (event, fields) not in self._logged_abilities:
                say(event, engine=self.engine_kind, **fields)
        self._logged_abilities = lines

    def log_loads(self) -> None:
        """Log the progress of loads. Workers with the same text share one line."""
        loads = {worker.loading for worker in self.workers} - {""}
        for text in sorted(loads - self._logged_loads):
            say("engine-load-progress", engine=self.engine_kind, stage=text)
        self._logged_loads = loads

    def _unavailable(
        self, worker: Worker, failure_kind: str, problem: str, retry_at: float, *, news: bool = True
    ) -> None:
        """Report that a worker cannot load the engine. Without `news`, the log has the same line already."""
        if worker.place is not None:
            self._block(failure_kind, f"{worker.label}: {problem}")
            say("remote-unavailable", label=worker.label, engine=self.engine_kind, problem=problem)
            return
        self._block(failure_kind, problem)
        at = "after a reboot" if retry_at == float("inf") else self._clock.spell(retry_at)
        if news and self.loaded:
            say("worker-unavailable", label=worker.label, problem=problem, at=at)
        elif news:
            say("engine-unavailable", engine=self.engine_kind, problem=problem, at=at)

    def fault_elsewhere(self, worker: Worker, error: PovwatchError) -> None:
        """Another machine failed a job: it has no space or memory, or its GPU is lost."""
        say("remote-fault", label=worker.label, problem=str(error))
        self._died(worker, error.what)

    def _died(self, worker: Worker, problem: str) -> None:
        """A worker was lost, could not load, or met a fault of its machine: that may have to rest."""
        if worker.place is not None and worker.place.died(self._clock.boot()):
            many, rest = places.DEATHS_MAX, spell_duration(places.REST)
            say("node-rests", node=worker.place.name, many=many, rest=rest, problem=problem)

    def generated(self, worker: Worker) -> None:
        """A worker has generated a clip: its machine works."""
        if worker.place is not None:
            worker.place.generated()

    def _block(self, failure_kind: str, problem: str) -> None:
        if not self.loaded:
            self.blocker = Blocker(_WAITS.get(failure_kind, Waiting.ENGINE_UNAVAILABLE), problem)

    # -- which workers there are

    def _plan_probe(self) -> None:
        self._probes += 1
        self._probe_at = self._clock.boot() + min(backoff(self._probes) * 5, PROBE_MAX)

    def _probe(self, gpus: Gpus) -> None:
        if not self._started and not self._background.busy("probe"):
            then = partial(self._probed, gpus)
            self._background.submit("probe", then, _engine_problem, self.engine_kind, self._config, gpus)

    def _probed(self, gpus: Gpus, outcome: str | Exception) -> None:
        if outcome == "":
            self._start_workers(gpus)
        elif isinstance(outcome, str) and not self.loaded and not self._elsewhere_alone(gpus):
            self.blocker = Blocker(Waiting.ENGINE_UNAVAILABLE, f"{outcome}.")

    def _elsewhere_alone(self, gpus: Gpus) -> bool:
        """Whether it is no fault that this machine has no worker: others have, and there is no GPU here."""
        return self._config.pool.kind == "ray" and self._config.engine.workers == "auto" and not gpus.found

    def _start_workers(self, gpus: Gpus) -> None:
        """Start the workers on the GPUs that are there now; at the daemon's start there may have been none."""
        self._started = True
        self.blocker = None
        engine = self._config.engine
        if engine.workers == 0:
            return
        if missing := strangers(gpus, engine.devices) if self._needed is not None else []:
            say("devices-missing", missing=", ".join(missing))
        self._load_bytes = weights_size(self.engine_kind, self._config)
        if self._schedule.blocker is None:
            say("engine-loading", engine=self.engine_kind)
        new = self._new_workers(gpus)
        if engine.workers != "auto" and len(new) < engine.workers:
            say("workers-fewer", wanted=engine.workers, many=len(new))
        self._add(new)

    def _gpus_read(self, gpus: Gpus) -> None:
        """Record the jobs' use of their GPUs, and give new GPUs a worker.

        A GPU may have come, or become large enough together with others.
        """
        now = self._clock.boot()
        for worker in self.on_gpus:
            if worker.active is not None and worker.generating and worker.supervisor.pid is not None:
                worker.active.use.add(now, gpus, worker.gpus, _of_workers(gpus, {worker.supervisor.pid}))
        if self._started and self._needed is not None:
            for worker in (new := self._new_workers(gpus)):
                say("worker-added", label=worker.label)
            self._add(new)

    def _new_workers(self, gpus: Gpus) -> list[Worker]:
        there = len(self.local)
        taken = [uuid for worker in self.workers for uuid in worker.gpus]
        found = launches(self._config, self._choice, gpus, taken=taken, number=there)
        engine = self._config.engine
        return [
            Worker(
                Supervisor(
                    launch,
                    Timeouts(load=engine.load_timeout, stall=engine.stall_timeout),
                    clock=self._clock,
                    new_process=self._new_process,
                ),
                number,
                tuple(gpu.uuid for gpu in launch.gpus),
                tuple(gpu.index for gpu in launch.gpus),
            )
            for number, launch in zip(self._free_numbers(), found, strict=False)
        ]

    def _free_numbers(self) -> Iterator[int]:
        """The numbers that no worker has, from 1."""
        taken = {worker.number for worker in self.workers}
        return (number for number in count(1) if number not in taken)

    def _add(self, new: list[Worker]) -> None:
        """Start workers; they load while clips arrive."""
        self.workers = [*self.local, *new, *self.remote]
        for worker in new:
            worker.supervisor.start()
            self._start_due(worker, self._clock.boot())

    def adopt(
        self,
        process: Process,
        launch: Launch,
        place: Place,
        *,
        gpu_names: Sequence[str] = (),
        capabilities: dict[str, Any] | None = None,
    ) -> Worker:
        """Take a worker on another machine, whose process runs.

        Args:
            gpu_names: its GPUs', for people.
            capabilities: what its engine can do, if it is loaded; else it is loaded now.
        """
        engine = self._config.engine
        # How long it is silent is the process's own matter: it knows whether the network or the bridge is.
        timeouts = Timeouts(load=engine.load_timeout, stall=engine.stall_timeout, heartbeat=inf, kill=REMOTE_KILL + 1)
        supervisor = Supervisor(launch, timeouts, clock=self._clock, new_process=None)
        worker = Worker(supervisor, next(self._free_numbers()), place=place, gpu_names=tuple(gpu_names))
        supervisor.adopt(process, capabilities)
        self.workers.append(worker)
        gpu = f" ({', '.join(gpu_names)})" if gpu_names else ""
        if capabilities is None:
            say("remote-joined", label=worker.label, worker=worker.number, gpu=gpu, engine=self.engine_kind)
        else:
            self.blocker = None
            say("remote-taken-over", label=worker.label, worker=worker.number, gpu=gpu, engine=self.engine_kind)
        return worker

    # -- when a worker may start

    def _start_due(self, worker: Worker, now: float) -> None:
        if worker.supervisor.due(now) and self._may_load(worker, now):
            worker.supervisor.spawn(now)

    def _may_load(self, worker: Worker, now: float) -> bool:
        blocker = self._schedule.blocker
        waits = blocker.problem if blocker is not None else self._crowded()
        if waits and not worker.waits:
            say("load-waits", label=worker.label, problem=waits)
        worker.waits = waits
        return not waits and self._has_gpu_memory(worker, now)

    def _crowded(self) -> str:
        loads = sum(worker.supervisor.state is SupervisorState.LOADING for worker in self.local)
        return crowded(loads, self._load_bytes, host_memory.available() if loads and self._load_bytes else None)

    def _has_gpu_memory(self, worker: Worker, now: float) -> bool:
        """Whether the worker's GPUs have enough free memory; False while NVML's answer is still to come."""
        if not worker.gpus or worker.has_gpu_memory:
            worker.has_gpu_memory = False  # asked anew before each start: the last answer may be stale
            return True
        if not worker.asking and now >= worker.ask_at:
            worker.asking = True
            self._monitor.ask(partial(self._check_gpu_memory, worker))
        return False

    def _check_gpu_memory(self, worker: Worker, gpus: Gpus) -> None:
        worker.asking = False
        no = refusal(gpus, worker.gpus, self._needed or 0, _of_workers(gpus, self._pids()))
        if no is not None:
            worker.refusals += 1
            worker.ask_at = self._clock.boot() + backoff(worker.refusals)
            news, worker.refused_about = no.about != worker.refused_about, no.about
            self._unavailable(worker, no.failure_kind, no.problem, worker.ask_at, news=news)
            return
        if worker.refusals:
            if self.blocker is not None and self.blocker.waiting in {Waiting.GPU_BUSY, Waiting.GPU_LOST}:
                self.blocker = None
            say("gpu-room", engine=self.engine_kind, where=self._where(worker))
        worker.has_gpu_memory, worker.refusals, worker.refused_about = True, 0, ()
        mine = (gpu for gpu in gpus.found if gpu.uuid in worker.gpus)
        worker.before = frozenset(process.pid for gpu in mine for process in gpu.processes)

    # -- other programs on the GPUs

    def judge_out_of_memory(self, worker: Worker, failed: events.JobFailed) -> None:
        """Read the GPUs now, to see who used the memory. OutOfMemoryJudged follows."""
        dying = self._pids()  # includes this job's worker, which is replaced and may be gone when NVML answers
        self._monitor.ask(partial(self._judge_out_of_memory, worker, failed, dying))

    def _judge_out_of_memory(self, worker: Worker, failed: events.JobFailed, dying: set[int], gpus: Gpus) -> None:
        job, error = failed.job_id, failed.error
        ours = _of_workers(gpus, self._pids()) | dying
        mine = [gpu for gpu in gpus.found if gpu.uuid in worker.gpus]
        others = [process for gpu in mine for process in neighbours(gpu, ours, worker.before)]
        if others and self._excused[job] < EXCUSED_MAX:
            self._excused[job] += 1
            what = joined(error.what, f"Meanwhile the GPU is used by {describe_processes(others)} too.")
            error = GpuBusy(what, "It is tried again by itself; it costs no attempt.")
        self._judged.append((worker, events.OutOfMemoryJudged(job, failed.run_id, error)))

    def _pids(self) -> set[int]:
        return {worker.supervisor.pid for worker in self.local if worker.supervisor.pid is not None}


@dataclass(slots=True, eq=False)
class Worker:
    """A worker, its attempt, and what is known of its GPUs."""

    supervisor: Supervisor
    number: int = 1
    """From 1."""
    gpus: tuple[str, ...] = ()
    """UUIDs of the GPUs that the worker sees; empty for an engine that needs none."""
    indices: tuple[int, ...] = ()
    """NVML's indices of these GPUs."""
    place: Place | None = None
    """The machine that it runs on, if that is another one."""
    gpu_names: tuple[str, ...] = ()
    """Its GPUs there, for people."""
    active: ActiveAttempt | None = None
    """The attempt that it has, or that is prepared for it."""
    shown_state: SupervisorState | None = None
    """Its state when the facts were last collected."""
    shown_since: int = 0
    """Since when it had this state then, on the wall clock."""
    waits: str = ""
    """What it waits for before it loads, besides its GPUs, as a sentence."""
    asking: bool = False
    """Whether NVML was asked about free memory on its GPUs and has not answered."""
    ask_at: float = 0.0
    """When NVML is asked again after a refusal, on the boot clock."""
    has_gpu_memory: bool = False
    """Whether NVML just saw enough free memory on its GPUs."""
    refusals: int = 0
    """Times in a row that too little memory was free."""
    refused_about: tuple[object, ...] = ()
    """See Refusal.about."""
    before: frozenset[int] = frozenset()
    """Processes that were on the GPUs before the worker."""
    _lines: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    """Last lines of its output that are not logged yet."""
    _more: int = 0
    """Further lines to log: a failed worker's output may arrive after the report of its failure."""

    @property
    def label(self) -> str:
        """The worker for people: "worker 2 on GPU 1", "worker 3 on node gpu-02"."""
        on = f" on GPU {', '.join(map(str, self.indices))}" if self.indices else ""
        if self.place is not None:
            on = f" on node {self.place.name}"
        return f"worker {self.number}{on}"

    @property
    def left(self) -> bool:
        """Whether it was on another machine and is gone, and nothing of it is left to do."""
        gone = self.supervisor.state is SupervisorState.STOPPED
        return gone and self.place is not None and self.active is None

    @property
    def failures(self) -> int:
        """Times in a row that it could not be started or loaded, or was lost."""
        return self.supervisor.failures + self.refusals

    @property
    def generating(self) -> bool:
        """Whether it has a job, and not merely waits for the job's copies."""
        return self.active is not None and self.active.generating_since is not None

    @property
    def loading(self) -> str:
        """Stage of its load, for people; empty if it does not load or has not reported one."""
        stage, fraction = self.supervisor.loading or (STARTING, None)
        if stage == STARTING:
            return ""
        return stage if fraction is None else f"{stage}, {int(fraction * 10) * 10} %"

    def log_output(self, line: str) -> None:
        """Keep a line that it printed; the log shows it with --verbose."""
        say("engine-output", line=line)
        if self._more:
            self._more -= 1
            say("engine-last-words", line=line)
        else:
            self._lines.append(line)

    def log_last_lines(self, failure_kind: str = "error") -> None:
        """Log the last output of a worker that failed: its traceback is there.

        A refusal of the machine or of the guardrail is complete in its error; then the output is only for --verbose.
        `failure_kind`: see JobFailed.
        """
        if failure_kind in KINDS or failure_kind == events.BLOCKED:
            self.forget_lines()
            return
        self._more = LAST_LINES - len(self._lines)
        while self._lines:
            say("engine-last-words", line=self._lines.popleft())

    def forget_lines(self) -> None:
        """Drop the lines so far: they say nothing about the next failure."""
        self._lines.clear()
        self._more = 0


@dataclass(slots=True, eq=False)
class ActiveAttempt:
    """An attempt that a worker has, or that is prepared for one, and what only this daemon knows of it.

    Times are on the boot clock.
    """

    job: int
    run_id: str
    attempt: Attempt
    """Its files and measurements, which survive a crash."""
    started: float
    """When it was claimed, or when its copies were begun ahead of that."""
    source_hash: str | None = None
    """Hash of the clip that is copied."""
    referenced: list[Any] | None = None
    """If its copies were begun ahead: the files that its spec names, with their signatures before the copy; None if one
    could not be read."""
    prepared: bool = False
    """Whether its working copy exists."""
    failure: Exception | None = None
    """Why its copies could not be made."""
    making: Gauge = field(default_factory=lambda: Gauge(COPYING))
    """Progress of its copies, and of what is made with them."""
    generating_since: float | None = None
    progress: Progress | None = None
    """The engine's last report."""
    left: float | None = None
    """Seconds that generating still takes, estimated at that report."""
    logged_tenths: int = 0
    """Tenths of the progress that the log has."""
    noted_at: float = 0.0
    """When the journal last got the progress."""
    cancel: str | None = None
    """Why it is to be cancelled; None if it is not."""
    use: GpuUsage = field(default_factory=GpuUsage)
    """Its use of the GPU."""
    expected: float | None = None
    """Seconds that generating is expected to take, by earlier jobs."""


def _of_workers(gpus: Gpus, workers: set[int]) -> set[int]:
    """Processes on the GPUs that are our workers or their descendants. Each worker leads a session of its own."""
    found = set()
    for pid in {process.pid for gpu in gpus.found for process in gpu.processes}:
        with suppress(OSError):
            if os.getsid(pid) in workers:
                found.add(pid)
    return found


def _engine_problem(_: threading.Event, engine_kind: str, config: Config, gpus: Gpus) -> str:
    return unable(engine_kind, config, gpus)
