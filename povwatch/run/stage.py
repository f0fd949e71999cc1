"""The run stage: claims queued jobs for workers, prepares them, and lets the workers generate.

claims.py claims a job when a worker is ready. preparing.py may have made its copies ahead.
Generated jobs go on in results/stage.py, while the worker already has the next job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.attempt import soundtrack
from povwatch.core import changes
from povwatch.core.blockers import Blocker
from povwatch.core.errors import GpuLost, OutOfMemory, PovwatchError
from povwatch.core.events import say
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.machine_faults import Place as Step
from povwatch.core.sentences import joined
from povwatch.core.stage import Stage
from povwatch.core.unforeseen import in_words
from povwatch.core.units import spell_duration
from povwatch.run.claims import Claims
from povwatch.run.estimates import RuntimeEstimates
from povwatch.run.preparing import Preparing
from povwatch.run.reports import Reports
from povwatch.workers import events, protocol
from povwatch.workers.other_processes import OtherProcesses
from povwatch.workers.states import SupervisorState

if TYPE_CHECKING:
    from povwatch.attempt.failed import FailedAttempts
    from povwatch.config.settings import Config
    from povwatch.core.background import Background
    from povwatch.core.blockers import Blockers
    from povwatch.files.free_space import FreeSpace
    from povwatch.gpu.monitor import GpuMonitor
    from povwatch.journal.store import JobStore
    from povwatch.publish import Publisher
    from povwatch.queue.order import Turns
    from povwatch.spec.current import CurrentSpecs
    from povwatch.workers.availability import Availability
    from povwatch.workers.crew import Crew
    from povwatch.workers.places import Place, Run


class RunStage(Stage):
    """Hands queued jobs to workers."""

    states = (JobState.RUNNING,)

    def __init__(
        self,
        config: Config,
        *,
        kind: str,
        store: JobStore,
        specs: CurrentSpecs,
        publisher: Publisher,
        background: Background,
        failed_attempts: FailedAttempts,
        blockers: Blockers,
        availability: Availability,
        crew: Crew,
        monitor: GpuMonitor,
        free_space: FreeSpace,
        turns: Turns,
    ) -> None:
        self._kind = kind
        self._keep_controls = config.publish.keep_controls
        self._store = store
        self._publisher = publisher
        self._failed_attempts = failed_attempts
        self._crew = crew
        self._monitor = monitor
        self._other_processes = OtherProcesses(monitor, lambda: crew.pids)
        self._blockers = blockers
        self._reports = Reports(store, kind)
        self.estimates = RuntimeEstimates(store.journal, kind)
        self._turns = turns
        self._preparing = Preparing(
            config.paths.inputs,
            store=store,
            specs=specs,
            publisher=publisher,
            background=background,
            ready=self._prepared,
        )
        self._claims = Claims(
            config,
            kind=kind,
            store=store,
            specs=specs,
            publisher=publisher,
            preparing=self._preparing,
            turns=turns,
            failed_attempts=failed_attempts,
            free_space=free_space,
        )
        self.availability = availability

    # -- the daemon's side

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        deadlines = [d for place in self._crew.places if (d := place.supervisor.next_deadline()) is not None]
        if (pause := self.availability.next_deadline()) is not None:
            deadlines.append(pause)
        if (turn := self._turns.next_deadline()) is not None:
            deadlines.append(turn)
        return min(deadlines, default=None)

    def tick(self, now: float) -> None:
        """Handle the workers' events, and hand out the next jobs."""
        self.settle(now)
        self._reports.loading(self._crew.places)
        self._turns.mend()
        blocker = self._blockers.starting()
        for place in self._crew.places:
            blocker = blocker or self.availability.blocker(now)  # claiming a job may have set one
            if blocker is None and place.run is None and place.supervisor.state is SupervisorState.READY:
                self._give(place)
        self._prepare_ahead(now, blocker)
        blocker = blocker or self.availability.blocker(now)
        self._turns.wait(blocker or Blocker(Waiting.TURN, "it starts when a worker is free"))

    def cancel(self, job: Job, why: str) -> bool:
        """See Stage. The running job ends soon."""
        for place in self._crew.places:
            if place.run is not None and place.run.job == job.id:
                place.run.cancel = why
                self._preparing.cancel(place.run)
                if place.run.generating_since is not None and place.supervisor.state is SupervisorState.BUSY:
                    place.supervisor.cancel(place.run.run_id, why)
        return True

    def resume(self, job: Job, *, crashed: bool) -> str:
        """See Stage. The job goes back to the queue and the crash is counted; the third one fails it."""
        del crashed  # a clean stop gives the jobs back, so this was a crash
        self._failed_attempts.orphaned(job)
        return "to run again"

    def release(self, job: Job, error: PovwatchError, pause: float) -> None:
        """See Stage. The attempt ends with the error."""
        del pause
        self.fail(job, error)
        job = self._store.job(job.id)
        if job.state is JobState.RUNNING:  # no worker has it, and none will
            self._failed_attempts.after(job, error)

    def give_up(self, job: Job, error: PovwatchError) -> None:
        """See Stage."""
        self._failed_attempts.give_up(job, error)

    def fail(self, job: Job, error: PovwatchError) -> None:
        """End a running job's attempt with an error that its worker did not report."""
        for place in self._crew.places:
            if place.run is not None and place.run.job == job.id:
                if place.supervisor.state is SupervisorState.BUSY:
                    place.supervisor.cancel(place.run.run_id, str(error))
                self._failed(place, error)

    def settle(self, now: float) -> None:
        """Handle the workers' events, without handing out jobs."""
        for place in self._crew.places:
            for event in place.supervisor.poll(now):
                run = place.run
                try:
                    self._take_in(place, event, now)
                except Exception as error:  # noqa: BLE001 - it costs the job an attempt, not the daemon
                    place.run = run
                    self._failed(place, in_words(error, "while a worker's word was taken in"))
            place.start_due(now)

    def close(self) -> None:
        """End the workers now, and give their jobs back uncharged."""
        for place in self._crew.places:  # close all of them first, since giving back may fail
            place.supervisor.close()
        for place in self._crew.places:
            if place.run is not None:
                self._failed_attempts.release(self._store.job(place.run.job), "povwatch was stopped.")
                place.run = None
        self._preparing.close()

    # -- claim and prepare

    def _give(self, place: Place) -> None:
        """Claim the next job for a worker, and hand it over at once if its copies exist already."""
        place.run = run = self._claims.next(place)
        if run is not None and run.prepared:
            self._prepared(run, None)

    def _prepare_ahead(self, now: float, blocker: Blocker | None) -> None:
        if blocker is not None and blocker.waiting is Waiting.DISK_FULL:
            self._preparing.make_room()
        wanted = self._crew.generating if blocker is None else 0
        self._preparing.tick(now, wanted=wanted, next_up=self._turns.due)

    def _prepared(self, run: Run, outcome: Exception | None) -> None:
        place = next((place for place in self._crew.places if place.run is run), None)
        job = self._store.job(run.job)
        if place is None or job.run_id != run.run_id:
            return  # the attempt ended meanwhile
        if run.cancel is not None:
            place.run = None
            self._failed_attempts.cancel(job, run.cancel)
        elif isinstance(outcome, Exception):
            self._failed(place, in_words(outcome, "while it was prepared", Step.PREPARE, run.attempt.folder))
        elif place.supervisor.state is not SupervisorState.READY:  # the worker was lost; the job is not to blame
            place.run = None
            self._failed_attempts.release(job, "The worker was lost before it had the job.")
        else:
            try:
                soundtrack.tell(self._store, job, run.attempt.sound)
                self._generate(place, run, job)
                self.availability.prepared()
            except Exception as error:  # noqa: BLE001 - it costs the job an attempt, not the daemon
                self._failed(place, in_words(error, "while it was handed to the worker", Step.ROOM, run.attempt.folder))

    def _generate(self, place: Place, run: Run, job: Job) -> None:
        # From here on the worker uses paths. This checks that their folders belong to povwatch.
        checkpoints = str(self._publisher.staging.checkpoints(job.id))
        run.attempt.keep_controls = self._keep_controls
        request = protocol.Generate(run.attempt.request(job.id), run.run_id, run.attempt.folder, checkpoints)
        place.forget_words()
        place.supervisor.generate(request)
        run.generating_since = self._store.clock.boot()
        run.expected = self.estimates.expect(run.attempt, self._crew.gpu_name(place))
        if place.gpus:
            self._monitor.ask(lambda _: None)  # the first sample; a short job may get no other

    # -- what the workers say

    def _take_in(self, place: Place, event: events.Event, now: float) -> None:
        match event:
            case events.EngineLoaded():
                self.availability.loaded()
                place.forget_words()
                where, took = self._crew.where(place), spell_duration(event.seconds)
                say("engine-ready", engine=self._kind, took=took, worker=place.number, where=where)
            case events.EngineUnavailable():
                self._reports.last_words(place, event.kind)
                problem = joined(event.message, event.todo)
                others = self._crew.loaded
                self.availability.load_failed(event.kind, problem, event.retry_at, others=others, label=place.label)
            case events.WorkerLost():
                self._lost(place, event)
            case events.EngineOutput():
                self._reports.output(place, event.line)
            case protocol.Progress() if place.run is not None and place.run.run_id == event.run_id:
                self._reports.progress(place.run, event, now)
            case protocol.Generated() | events.JobFailed() | events.JobCancelled():
                self._end(place, event)

    def _end(
        self,
        place: Place,
        event: protocol.Generated | events.JobFailed | events.JobCancelled,
    ) -> None:
        run = place.run
        if run is None or run.run_id != event.run_id:
            return
        job = self._store.job(run.job)
        match event:
            case _ if run.cancel is not None:
                place.run = None
                self._failed_attempts.cancel(job, run.cancel)
            case events.JobCancelled():
                place.run = None
                self._failed_attempts.release(job, event.why)
            case protocol.Generated():
                self._has_generated(place, run, job, event)
            case events.JobFailed():
                self._reports.last_words(place, event.kind)
                if isinstance(event.error, OutOfMemory) and place.gpus:
                    self._out_of_memory(place, run, event.error)
                else:
                    self._failed(place, event.error)

    def _out_of_memory(self, place: Place, run: Run, error: OutOfMemory) -> None:
        """Find out from the GPU which process used the memory; until then the job keeps its worker."""

        def then(judged: PovwatchError) -> None:
            if place.run is run:
                self._failed(place, judged)

        self._other_processes.judge(place, run.job, error, then)

    def _has_generated(self, place: Place, run: Run, job: Job, event: protocol.Generated) -> None:
        took = self._store.clock.boot() - (run.generating_since or run.started)
        run.attempt.artifact = event.artifact
        run.attempt.capabilities = place.supervisor.capabilities or {}
        run.attempt.seconds["generate"] = round(took, 3)
        run.attempt.gpu = run.use.figures()
        learned = self.estimates.learn(run.attempt, self._crew.gpu_name(place), took)
        generated = changes.Generated(
            artifact=run.attempt.to_json(), took=spell_duration(took), gpu=run.attempt.gpu, learned=learned
        )
        place.run = None
        self.availability.generated()
        self._store.apply(job, generated)

    def _lost(self, place: Place, event: events.WorkerLost) -> None:
        self._reports.last_words(place)
        say("worker-lost", problem=str(event.error), worker=place.number, where=self._crew.where(place))
        run = place.run
        if run is None:
            waiting = Waiting.GPU_LOST if isinstance(event.error, GpuLost) else Waiting.ENGINE_UNAVAILABLE
            self.availability.lost(str(event.error), waiting, others=self._crew.loaded)
        elif run.run_id == event.run_id:  # else _prepared will notice that the worker is gone
            self._failed(place, event.error)

    def _failed(self, place: Place, error: PovwatchError) -> None:
        """End the attempt of this worker's job with an error."""
        run, place.run = place.run, None
        if run is None:
            return
        job = self._store.job(run.job)
        if job.run_id != run.run_id or job.state not in {JobState.RUNNING, JobState.CHECKING}:
            return  # its attempt ended already
        if used := run.use.figures():
            if run.generating_since is not None:
                used["seconds"] = round(self._store.clock.boot() - run.generating_since, 3)
            self._store.journal.note(job, "gpu-use", self._store.clock.wall(), used)
        if run.cancel is not None:
            self._failed_attempts.cancel(job, run.cancel)
        else:
            self._failed_attempts.after(job, error, prepared=run.generating_since is not None)
