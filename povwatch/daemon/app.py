"""Builds the app: every object of the daemon, in the order of their dependencies. It decides nothing."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from povwatch.arrival.folder_monitor import FolderMonitor
from povwatch.arrival.inspections import Inspections
from povwatch.arrival.known_root import KnownRoot
from povwatch.arrival.stage import ArrivalStage
from povwatch.attempt.failed import FailedAttempts
from povwatch.core.background import Background
from povwatch.core.blockers import Blockers
from povwatch.core.errors import ConfigError
from povwatch.core.hours import parse
from povwatch.core.scope import ALL, Scope
from povwatch.daemon.mishaps import Mishaps
from povwatch.daemon.outside import Outside
from povwatch.engines.abilities import Abilities
from povwatch.engines.annotate import annotation
from povwatch.engines.choice import choose
from povwatch.files.free_space import FreeSpace
from povwatch.gpu.monitor import GpuMonitor
from povwatch.grace.named_files import NamedFiles
from povwatch.grace.prompt_filters import PromptFilters
from povwatch.grace.spec_files import SpecFiles
from povwatch.grace.stage import GraceStage
from povwatch.hooks.runner import HookRunner
from povwatch.journal import Journal
from povwatch.journal.store import JobStore
from povwatch.metrics.exporter import Exporter
from povwatch.notifications.watch import Notifications
from povwatch.ops.rebuild.outputs import refuse_lost_journal
from povwatch.page.updater import PageUpdater
from povwatch.publish import Publisher
from povwatch.publish.outputs_watch import OutputsWatch
from povwatch.queue.order import JobQueue
from povwatch.queue.pauses import QueuePauses
from povwatch.queue.schedule import Schedule
from povwatch.remote.workers import Demand, RemoteWorkers
from povwatch.results.source_archive import SourceArchive
from povwatch.results.stage import ResultsStage
from povwatch.run.claims import Claims
from povwatch.run.preparing import Preparing
from povwatch.run.stage import RunStage
from povwatch.service.requests import RequestSpool
from povwatch.spec.error_files import ErrorFiles
from povwatch.spec.inputs_folder import InputsFolder
from povwatch.spec.prompts import configured_templates
from povwatch.workers.gpu_faults import GpuFaults
from povwatch.workers.launch import elsewhere
from povwatch.workers.pool import WorkerPool
from povwatch.workers.prompt_checks import PromptChecks

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.config.settings import Config
    from povwatch.core.stage import JobListener


class App:
    """Every object of one povwatch; the loop calls them.

    Each `_build` method makes one side of it, of what the methods before it have made.
    """

    def __init__(self, config: Config, scope: Scope = ALL, outside: Outside | None = None) -> None:
        """Build everything. The journal is locked; nothing is recovered or watched yet.

        Args:
            scope: the clips that this povwatch handles.
            outside: the clock, the watcher, the workers and so on; production's by default.

        Raises:
            ConfigError: the configuration does not fit this machine, another daemon has the journal, or it is lost.
            JournalError: the journal cannot be used.
        """
        outside = outside or Outside()
        self.config = config
        self.clock = outside.clock
        self.waker = outside.waker
        self.templates = configured_templates(config)
        for folder in (config.paths.inputs, config.paths.outputs, config.paths.state):
            _make_folder(folder, config.origin)
        self.journal = Journal.open(config.paths.state, fresh=lambda: refuse_lost_journal(config))
        self.store = JobStore(self.journal, self.clock, scope)
        self.mishaps = self.store.mishaps = Mishaps(self.store)
        self.spool = RequestSpool(config.paths.state)
        self._build_engine(outside)
        self._build_folders(outside)
        self._build_queue()
        self._build_grace()
        self._build_attempts(outside)
        self._build_observers()
        away: dict[str, JobListener] = {}
        if self.remote is not None:
            demand = Demand(config, store=self.store, blockers=self.blockers, remote=self.remote)
            away = {"remote workers": self.remote, "demand for them": demand}
        self.parts: dict[str, JobListener] = {
            "folder monitor": self.folder_monitor,
            "arrival": self.arrival,
            "grace": self.grace,
            "hooks": self.hooks,
            **away,
            "run": self.run,
            "results": self.results,
            "notifications": self.notifications,
            "metrics": self.metrics,
            **({"page": self.page} if self.page else {}),
        }
        """What takes turns, in the order of a clip's way, by the name that people read; those that only observe last.

        A change that one part makes is seen by those behind it in the same turn.
        """
        self.store.listeners = tuple(self.parts.values())

    def _build_engine(self, outside: Outside) -> None:
        """The engine: which one it is, its GPUs, the workers that run it, and the threads that wait for their work."""
        config, clock, wake = self.config, self.clock, self.waker.wake
        self.monitor = GpuMonitor(clock, wake, outside.read_gpus)
        gpus = self.monitor.first()
        self.choice = choose(config, gpus, self.journal.real_engine())
        self.abilities = Abilities.of(self.choice.kind, config.engine, gpus)
        # For each worker: the copies of its next clip, and the finishing of its last one.
        # Those of workers elsewhere share this machine's processors.
        elsewhere_too = min(config.pool.max, os.cpu_count() or 1) if config.pool.kind == "ray" else 0
        threads = max(4, 2 * (self.choice.workers + elsewhere_too))
        self.background = Background(wake, threads=threads, broken=self.mishaps.work_failed)
        self.schedule = Schedule(parse(config.engine.hours), self.journal, clock)
        self.pool = WorkerPool(
            config,
            self.choice,
            schedule=self.schedule,
            clock=clock,
            background=self.background,
            monitor=self.monitor,
            new_process=outside.new_worker,
        )
        self.prompt_checks = PromptChecks(
            config,
            self.choice.kind,
            pool=self.pool,
            schedule=self.schedule,
            clock=clock,
            new_process=outside.new_worker,
        )
        self.gpu_faults = GpuFaults(store=self.store, monitor=self.monitor, pool=self.pool, wake=wake)
        self.remote: RemoteWorkers | None = None
        """The workers on other machines; None without [pool] kind = "ray"."""
        if config.pool.kind == "ray":
            launch = elsewhere(config, self.choice)
            self.remote = RemoteWorkers(config, launch, pool=self.pool, clock=clock, wake=wake)

    def _build_folders(self, outside: Outside) -> None:
        """The two folders: inputs/ with the arrival of clips, and outputs/."""
        config, store = self.config, self.store
        self.root = KnownRoot(self.journal, config.paths.inputs)
        self.folder = InputsFolder(config.paths.inputs)
        self.error_files = ErrorFiles(self.folder, self.journal, rescan=config.arrival.rescan)
        self.inspections = Inspections(config.paths.inputs, self.waker.wake, self.mishaps.work_failed)
        self.arrival = ArrivalStage(
            config.arrival, store=store, root=self.root, inspections=self.inspections, error_files=self.error_files
        )
        self.folder_monitor = FolderMonitor(
            config,
            store=store,
            root=self.root,
            folder=self.folder,
            arrival=self.arrival,
            error_files=self.error_files,
            watcher=outside.new_watcher(config),
        )
        self.publisher = Publisher(config.paths.outputs)
        self.outputs_watch = OutputsWatch(self.publisher.staging)
        self.free_space = FreeSpace(config)

    def _build_queue(self) -> None:
        """What keeps jobs from starting, and what follows from a failed attempt: the engine and the folders meet."""
        self.pauses = QueuePauses(self.clock, self.pool, self.outputs_watch)
        self.blockers = Blockers(
            faults=(self.root, self.outputs_watch, self.free_space),
            schedule=self.schedule,
            engine=(self.gpu_faults, self.pool, *([self.remote] if self.remote else []), self.pauses),
        )
        self.failed_attempts = FailedAttempts(
            self.config,
            store=self.store,
            error_files=self.error_files,
            staging=self.publisher.staging,
            pauses=self.pauses,
        )

    def _build_grace(self) -> None:
        """What has a clip before it is claimed: the grace stage with the files beside it, and the hooks."""
        config, store = self.config, self.store
        named = NamedFiles(self.folder, self.inspections.packets, settle=config.arrival.settle)
        prompts = PromptFilters(self.prompt_checks, self.abilities, self.clock)
        self.grace = GraceStage(
            config.grace,
            store=store,
            folder=self.folder,
            error_files=self.error_files,
            failed_attempts=self.failed_attempts,
            files=SpecFiles(
                config.spec,
                store,
                self.folder,
                templates=self.templates,
                abilities=self.abilities,
                named=named,
                prompts=prompts,
            ),
            named=named,
            prompts=prompts,
        )
        self.hooks = HookRunner(
            config,
            store=store,
            specs=self.grace,
            staging=self.publisher.staging,
            blockers=self.blockers,
            failed_attempts=self.failed_attempts,
            wake=self.waker.wake,
        )

    def _build_attempts(self, outside: Outside) -> None:
        """The stages that have a job from its claim to its end."""
        config, store, staging = self.config, self.store, self.publisher.staging
        queue = JobQueue(store, hooks=self.hooks, blockers=self.blockers)
        self.preparing = Preparing(
            config,
            store=store,
            queue=queue,
            specs=self.grace,
            staging=staging,
            background=self.background,
            annotator=outside.annotator(config) if self.choice.kind in annotation.ENGINES else None,
        )
        claims = Claims(
            config,
            store=store,
            specs=self.grace,
            publisher=self.publisher,
            free_space=self.free_space,
            failed_attempts=self.failed_attempts,
            preparing=self.preparing,
            engine_kind=self.choice.kind,
        )
        self.run = RunStage(
            store=store,
            queue=queue,
            pauses=self.pauses,
            claims=claims,
            preparing=self.preparing,
            pool=self.pool,
            staging=staging,
            failed_attempts=self.failed_attempts,
        )
        self.results = ResultsStage(
            config,
            store=store,
            publisher=self.publisher,
            background=self.background,
            failed_attempts=self.failed_attempts,
            archive=SourceArchive(config, self.folder),
            free_space=self.free_space,
            outputs_watch=self.outputs_watch,
            hooks=self.hooks,
        )

    def _build_observers(self) -> None:
        """What only observes: it moves no clip and delays none."""
        config, store = self.config, self.store
        self.notifications = Notifications(
            config, store=store, blockers=self.blockers, arrival=self.arrival, pool=self.pool
        )
        self.metrics = Exporter(config, store=store, blockers=self.blockers, pool=self.pool, wake=self.waker.wake)
        self.page = None
        if config.page.enabled:
            self.page = PageUpdater(config, store=store, outputs_watch=self.outputs_watch, wake=self.waker.wake)


def _make_folder(folder: Path, origin: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The folder {folder} cannot be made: {error.strerror}.", f"Make it by hand, or set [paths] in {origin}."
        ) from error
