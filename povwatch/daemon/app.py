"""The parts of the daemon, put together, and what they tell each other.

A part is given what it asks; what it has to say to parts that are made later, it says through the functions here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.arrival.folder_monitor import FolderMonitor
from povwatch.arrival.known_root import KnownRoot
from povwatch.arrival.stage import ArrivalStage
from povwatch.attempt.attempt import readable_attempt
from povwatch.attempt.failed import FailedAttempts
from povwatch.core.background import Background
from povwatch.core.errors import ConfigError, EnvironmentFault, OutputsAway, OutputsNotWritable
from povwatch.core.hours import parse
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.scope import ALL, Scope
from povwatch.daemon.drain import Drain
from povwatch.daemon.mishaps import Mishaps
from povwatch.daemon.outside import Outside
from povwatch.daemon.recovery import give_up
from povwatch.daemon.requests import Verbs
from povwatch.daemon.status import Facts
from povwatch.engines.choice import choose
from povwatch.files.free_space import FreeSpace
from povwatch.gpu.monitor import GpuMonitor
from povwatch.grace.edited_specs import EditedSpecs
from povwatch.grace.stage import GraceStage
from povwatch.hooks.stage import HookStage
from povwatch.journal import Journal
from povwatch.journal.store import JobStore
from povwatch.ops.cleaner import Cleaner
from povwatch.ops.rebuild import lost
from povwatch.publish import Publisher
from povwatch.queue.schedule import Schedule
from povwatch.results.outputs_watch import OutputsWatch
from povwatch.results.source_archive import SourceArchive
from povwatch.results.stage import ResultsStage
from povwatch.results.staging_cleanup import StagingCleanup
from povwatch.run.stage import RunStage
from povwatch.service.requests import Spool
from povwatch.spec.configured import configured_templates
from povwatch.spec.error_files import ErrorFiles
from povwatch.spec.inputs_folder import InputsFolder
from povwatch.workers.availability import Availability
from povwatch.workers.crew import Crew
from povwatch.workers.gpu_faults import GpuFaults
from povwatch.workers.places import Blocker
from povwatch.workers.pool import EngineRoom

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from povwatch.config.settings import Config
    from povwatch.core.errors import PovwatchError
    from povwatch.media.info import VideoInfo


class Parts:
    """Every part of one povwatch; the loop drives them."""

    def __init__(self, config: Config, scope: Scope = ALL, outside: Outside | None = None) -> None:
        """Make them. The journal is locked; nothing is recovered or watched yet.

        Args:
            config: the configuration.
            scope: the clips that this povwatch is for.
            outside: what they are given of the world; as it is, if left out.

        Raises:
            ConfigError: the configuration does not fit this machine, another daemon has the journal, or it is lost.
            JournalError: the journal cannot be used.
        """
        self.scope = scope
        outside = outside or Outside()
        self.clock = outside.clock
        self.waker = outside.waker
        templates = configured_templates(config)
        for folder in (config.paths.inputs, config.paths.outputs, config.paths.state):
            _make_folder(folder, config.origin)
        self.journal = Journal.open(config.paths.state, fresh=lambda: lost.refuse(config))
        self.store = JobStore(self.journal, self.clock)
        self.monitor = GpuMonitor(self.clock, self.waker.wake, outside.look)
        self.choice = choose(config, self.monitor.first(), self.journal.real_engine())
        self.mishaps = Mishaps(
            self.clock, job=self.store.job, reread=self.store.reread, release=self._release, give_up=self._give_up
        )
        # For each worker the copies of its next clip and the finishing of its last one.
        threads = max(4, 2 * self.choice.workers)
        self.background = Background(self.waker.wake, threads=threads, broken=self.mishaps.of)
        # Apart: a thousand clips that arrive must not keep one waiting that runs.
        self.inspections = Background(self.waker.wake, threads=2, broken=self.mishaps.of)
        # Apart again: files with a long index, or one that lies, keep only each other waiting.
        self.walks = Background(self.waker.wake, threads=1, broken=self.mishaps.of)
        # And clips that have to be decoded from the front, for hours if they are long.
        self.decodes = Background(self.waker.wake, threads=1, broken=self.mishaps.of)
        self.folder = InputsFolder(config.paths.inputs)
        self.error_files = ErrorFiles(self.folder, self.journal)
        self.publisher = Publisher(config.paths.outputs)
        self._staging_cleanup = StagingCleanup(self.store, self.publisher, self.background)
        self.root = KnownRoot(self.journal, config.paths.inputs)
        arrival = config.arrival
        self.arrival = ArrivalStage(
            config.paths.inputs,
            settle=arrival.network_settle if self.root.guard.is_network else arrival.settle,
            network=self.root.guard.is_network,
            store=self.store,
            inspections=self.inspections,
            walks=self.walks,
            decodes=self.decodes,
            error_files=self.error_files,
            arrived=self._arrived,
            withdrawn=self._withdraw,
            rejected=self._staging_cleanup.ended,
            broken=self.mishaps.of,
            scope=scope,
        )
        self.gates = GraceStage(
            config,
            store=self.store,
            folder=self.folder,
            error_files=self.error_files,
            background=self.inspections,
            templates=templates,
            engine=self.choice.kind,
            present=self.present,
            renamed_from=self.arrival.renamed_from,
            ended=self._ended,
            broken=self.mishaps.of,
            scope=scope,
        )
        self._edited_specs = EditedSpecs(self.store, self.arrival, self.folder, scope, self.mishaps.of)
        self.folder_monitor = FolderMonitor(
            config,
            clock=self.clock,
            guard=self.root.guard,
            arrival=self.arrival,
            gates=self.gates,
            respec=self._edited_specs.look,
            tidy=lambda listing: self.error_files.tidy(self.store.known, listing),
            adopted=self.root.keep,
            wake=self.waker.wake,
            watcher=outside.watcher,
        )
        self._archive = SourceArchive(config, self.folder)
        self.free_space = FreeSpace(config)
        self.failed_attempts = FailedAttempts(
            config,
            store=self.store,
            error_files=self.error_files,
            publisher=self.publisher,
            back=self._back,
            ended=self._ended,
            pause=self._pause_queue,
        )
        self.hooks = HookStage(
            config,
            store=self.store,
            gates=self.gates,
            publisher=self.publisher,
            failed_attempts=self.failed_attempts,
            wake=self.waker.wake,
            broken=self.mishaps.of,
            scope=scope,
        )
        self.finisher = ResultsStage(
            config,
            store=self.store,
            publisher=self.publisher,
            background=self.background,
            failed_attempts=self.failed_attempts,
            aside=self._archive,
            room=self.free_space.lacking,
            away=lambda: self.outputs_watch.refuses(self.clock.boot()),
            done=self._ended,
            broken=self.mishaps.of,
            after=self.hooks.after,
        )
        self.availability = Availability(self.clock, self.choice.kind)
        self.crew = Crew(self.clock, self.monitor)
        self.dispatch = RunStage(
            config,
            kind=self.choice.kind,
            store=self.store,
            gates=self.gates,
            publisher=self.publisher,
            background=self.background,
            failed_attempts=self.failed_attempts,
            availability=self.availability,
            crew=self.crew,
            monitor=self.monitor,
            room=self.free_space.lacking,
            scope=scope,
            generated=self.finisher.check,
            broken=self.mishaps.of,
            ready=self.hooks.ready,
        )
        self.schedule = Schedule(parse(config.engine.hours), self.journal, self.clock)
        self.engine_room = EngineRoom(
            config,
            self.choice,
            schedule=self.schedule,
            clock=self.clock,
            background=self.background,
            monitor=self.monitor,
            availability=self.availability,
            crew=self.crew,
            wake=self.waker.wake,
            worker=outside.worker,
        )
        self.gpu_faults = GpuFaults(
            store=self.store,
            monitor=self.monitor,
            crew=self.crew,
            availability=self.availability,
            wake=self.waker.wake,
        )
        self.outputs_watch = OutputsWatch(config.paths.outputs, probe=self.publisher.probe, back=self._outputs_back)
        self.drain = Drain(
            config,
            store=self.store,
            folder_monitor=self.folder_monitor,
            arrival=self.arrival,
            idle=lambda: all(
                at_work.idle for at_work in (self.background, self.inspections, self.walks, self.decodes, self.hooks)
            ),
            availability=self.availability,
            crew=self.crew,
            engine_room=self.engine_room,
            blocker=self.blocker,
            hook_stuck=self.hooks.stuck,
            scope=scope,
        )
        self.facts = Facts(
            config,
            self.choice,
            self.store,
            crew=self.crew,
            availability=self.availability,
            monitor=self.monitor,
        )
        self.spool = Spool(config.paths.state)
        self.verbs = Verbs(
            self.spool,
            store=self.store,
            arrival=self.arrival,
            gates=self.gates,
            folder=self.folder,
            engine=self.choice.kind,
            finish=self.finisher.again,
            hasten=self.finisher.hasten,
            schedule=self.schedule,
            cleaner=Cleaner(config, self.store, self.background),
            withdraw=self._withdraw,
            scope=scope,
        )

    def blocker(self) -> Blocker | None:
        """What holds everything up, if anything does."""
        return self.fault() or self.schedule.blocker

    def fault(self) -> Blocker | None:
        """What of that is wrong here, and nobody's wish."""
        if self.folder_monitor.away is not None:
            return Blocker(Waiting.INPUTS_AWAY, self.folder_monitor.away)
        return self.outputs_watch.blocker or self.free_space.blocker

    def present(self, path: bytes) -> bool:
        """Whether a clip was there at the last look."""
        return self.folder_monitor.present(path)

    # -- what the parts tell each other

    def _arrived(self, job: Job, info: VideoInfo) -> None:
        self.gates.admit(job, info)

    def _withdraw(self, job: Job, why: str) -> None:
        """A clip is gone or changed, or somebody cancelled it."""
        if why == "changed":
            self.gates.drop(job)
            return
        if why == "gone":
            why = "the clip was deleted"
            self.gates.left_behind(job)
        if job.state is JobState.RUNNING:
            self.dispatch.cancel(job, why)
        elif job.state is JobState.CHECKING:
            self.finisher.cancel(job, why)
        elif job.state is not JobState.PUBLISHING:
            self.gates.drop(job)
            self.error_files.clear(job)
            self.inspections.cancel(("inspect", job.id))
            signature = self.arrival.signature(job)
            to = {"state": JobState.CANCELLED, "waiting_on": None, "detail": why, "source_stat": signature}
            self._ended(self.store.move(self.store.job(job.id), "cancelled", said={"why": why}, **to))

    def _release(self, job: Job, found: PovwatchError, pause: float) -> None:
        """A job's step failed as nobody foresaw: it goes back to where it waits, and is tried again."""
        state, wall = job.state, self.clock.wall()
        if state is JobState.RUNNING:
            self.dispatch.fail(job, found)
            job = self.store.job(job.id)
            if job.state is JobState.RUNNING:  # no worker has it, and none will
                self.failed_attempts.after(job, found)
        elif state is JobState.CHECKING and job.artifact:
            attempt = readable_attempt(job.artifact)
            if attempt is None:  # no other try reads what the journal does not hold
                self._give_up(job, found)
            else:
                self.finisher.failed(job, attempt, found)
        elif state is JobState.CHECKING:
            self.failed_attempts.after(job, found)
        elif state is JobState.PUBLISHING:
            self.finisher.later(job, found, pause)
        elif state is JobState.ARRIVING:
            self.arrival.return_to_arriving(job)
        else:
            self.gates.look_anew(job)
            if state is JobState.QUEUED:
                to = {"waiting_on": Waiting.RETRY_AT, "detail": str(found), "not_before": wall + pause}
                self.store.set_quietly(job, "waiting", **to)

    def _give_up(self, job: Job, found: PovwatchError) -> None:
        give_up(job, found, gates=self.gates, failed_attempts=self.failed_attempts)

    def _pause_queue(self, waiting: Waiting, error: EnvironmentFault, until: float, *, prepared: bool) -> bool:
        if waiting in {Waiting.GPU_LOST, Waiting.GPU_BUSY} and self.crew.loaded:
            return False  # the other workers have GPUs of their own
        if isinstance(error, OutputsNotWritable | OutputsAway) and self.outputs_watch.refuses(self.clock.boot()):
            return False  # it says so, once, and sees when it is over
        return self.availability.pause(waiting, error, until, prepared=prepared)

    def _outputs_back(self) -> None:
        self._staging_cleanup.all()
        self.finisher.hurry()

    def _back(self, job: Job) -> None:
        """An attempt ended and the job goes on."""
        if job.state is JobState.ARRIVING:
            self.arrival.return_to_arriving(job)
        else:
            self.gates.resume(job)

    def _ended(self, job: Job) -> None:
        """A job ended. What fails of this costs no other part of it, and is done later."""
        steps: dict[str, Callable[[], None]] = {
            "intake": lambda: self.arrival.forget(job),
            "tidy": lambda: self._staging_cleanup.ended(job),
            "hooks": lambda: self.hooks.forget(job),
        }
        if job.state is JobState.CANCELLED and not self.folder_monitor.present(job.path):
            steps["base"] = lambda: self.journal.give_base_back(job.path)
        if job.state is JobState.DONE:
            steps["aside"] = lambda: self._archive.move(job)  # one that was done already, too
        # The clip or its JSON may have changed while the job ran.
        steps["lookout"] = lambda: self.folder_monitor.soon(self.clock.boot())
        for name, step in steps.items():
            self.mishaps.later(("end", job.id, name), step, pause=0.0)


def _make_folder(folder: Path, origin: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The folder {folder} cannot be made: {error.strerror}.", f"Make it by hand, or set [paths] in {origin}."
        ) from error
