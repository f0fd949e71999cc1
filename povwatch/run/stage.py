"""From the queue to a worker and back: claim, prepare, generate.

A job is claimed when a worker is ready for it (claims.py), and what it needs may be there already (preparing.py).
What comes back goes on in finisher.py, while the worker has the next job already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.attempt import soundtrack
from povwatch.core.errors import GpuLost, OutOfMemory, PovwatchError
from povwatch.core.events import say
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.machine_faults import Place as Step
from povwatch.core.scope import ALL
from povwatch.core.sentences import joined
from povwatch.core.unforeseen import in_words
from povwatch.core.units import spell_duration
from povwatch.queue.claims import Claims
from povwatch.queue.order import Turns
from povwatch.run.estimates import RuntimeEstimates
from povwatch.run.preparing import Preparing
from povwatch.run.reports import Reports
from povwatch.workers import events
from povwatch.workers.other_processes import OtherProcesses
from povwatch.workers.places import Blocker, Place, Run
from povwatch.workers.protocol import Generate
from povwatch.workers.states import SupervisorState

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.attempt.attempt import Attempt
    from povwatch.attempt.failed import FailedAttempts
    from povwatch.config.settings import Config
    from povwatch.core.background import Background
    from povwatch.core.errors import DiskFull
    from povwatch.core.scope import Scope
    from povwatch.gpu.monitor import GpuMonitor
    from povwatch.grace.stage import GraceStage
    from povwatch.journal.store import JobStore
    from povwatch.publish import Publisher
    from povwatch.workers.availability import Availability
    from povwatch.workers.crew import Crew


class RunStage:
    """Hands queued jobs to workers."""

    def __init__(
        self,
        config: Config,
        *,
        kind: str,
        store: JobStore,
        gates: GraceStage,
        publisher: Publisher,
        background: Background,
        failed_attempts: FailedAttempts,
        availability: Availability,
        crew: Crew,
        monitor: GpuMonitor,
        room: Callable[[], DiskFull | None],
        generated: Callable[[Job, Attempt], None],
        broken: Callable[[tuple[str, int], Exception], None],
        ready: Callable[[Job], bool] = lambda _: True,
        scope: Scope = ALL,
    ) -> None:
        self._kind = kind
        self._keep_controls = config.publish.keep_controls
        self._store = store
        self._publisher = publisher
        self._failed_attempts = failed_attempts
        self._crew = crew
        self._monitor = monitor
        self._other_processes = OtherProcesses(monitor, lambda: crew.pids)
        self._generated = generated
        self._reports = Reports(store, kind)
        self.estimates = RuntimeEstimates(store.journal, kind)
        self._turns = Turns(store, ready, scope)
        self._preparing = Preparing(
            config.paths.inputs,
            store=store,
            gates=gates,
            publisher=publisher,
            background=background,
            ready=self._prepared,
        )
        self._claims = Claims(
            config,
            kind=kind,
            store=store,
            gates=gates,
            publisher=publisher,
            preparing=self._preparing,
            turns=self._turns,
            failed_attempts=failed_attempts,
            room=room,
            broken=broken,
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

    def tick(self, now: float, *, blocker: Blocker | None) -> None:
        """Take in what the workers say, and give the next jobs out.

        Args:
            now: boot clock.
            blocker: why no job may start now, if that is so.
        """
        self.settle(now)
        self._reports.loading(self._crew.places)
        self._turns.mend()
        for place in self._crew.places:
            blocker = blocker or self.availability.blocker(now)  # claiming a job may meet one
            if blocker is None and place.run is None and place.supervisor.state is SupervisorState.READY:
                self._give(place)
        self._prepare_ahead(now, blocker)
        blocker = blocker or self.availability.blocker(now)
        self._turns.wait(blocker or Blocker(Waiting.TURN, "it starts when a worker is free"))

    def cancel(self, job: Job, why: str) -> None:
        """A running job is no longer wanted; its end follows."""
        for place in self._crew.places:
            if place.run is not None and place.run.job == job.id:
                place.run.cancel = why
                self._preparing.cancel(place.run)
                if place.run.generating_since is not None and place.supervisor.state is SupervisorState.BUSY:
                    place.supervisor.cancel(place.run.run_id, why)

    def fail(self, job: Job, error: PovwatchError) -> None:
        """A running job's attempt ends in an error that did not come from its worker."""
        for place in self._crew.places:
            if place.run is not None and place.run.job == job.id:
                if place.supervisor.state is SupervisorState.BUSY:
                    place.supervisor.cancel(place.run.run_id, str(error))
                self._failed(place, error)

    def settle(self, now: float) -> None:
        """Take in what the workers say, without giving anything out."""
        for place in self._crew.places:
            for event in place.supervisor.poll(now):
                run = place.run
                try:
                    self._take_in(place, event, now)
                except Exception as error:  # noqa: BLE001 - it costs the job an attempt, not the daemon
                    place.run = run
                    self._failed(place, in_words(error, "while a worker's word was taken in"))

    def close(self) -> None:
        """End the workers here and now; give their jobs back, nothing charged."""
        for place in self._crew.places:  # all of them first: giving back may fail
            place.supervisor.close()
        for place in self._crew.places:
            if place.run is not None:
                self._failed_attempts.release(self._store.job(place.run.job), "povwatch was stopped.")
                place.run = None
        self._preparing.close()

    # -- claim and prepare

    def _give(self, place: Place) -> None:
        """Claim the next job for a worker; it has it at once if its copies were made ahead."""
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
        elif place.supervisor.state is not SupervisorState.READY:  # the worker was lost meanwhile: not the job's doing
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
        # The worker goes by paths from here on; this sees that what they lead through is ours.
        checkpoints = str(self._publisher.checkpoints(job.id))
        run.attempt.keep_controls = self._keep_controls
        request = Generate(run.attempt.request(job.id), run.run_id, run.attempt.folder, checkpoints)
        place.forget_words()
        place.supervisor.generate(request)
        run.generating_since = self._store.clock.boot()
        run.expected = self.estimates.expect(run.attempt, self._crew.gpu_name(place))
        if place.gpus:
            self._monitor.ask(lambda _: None)  # for the first sample; a short job may see no other

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
            case events.JobProgress() if place.run is not None and place.run.run_id == event.run_id:
                self._reports.progress(place.run, event, now)
            case events.JobGenerated() | events.JobFailed() | events.JobBlocked() | events.JobCancelled():
                self._end(place, event)

    def _end(
        self,
        place: Place,
        event: events.JobGenerated | events.JobFailed | events.JobBlocked | events.JobCancelled,
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
            case events.JobGenerated():
                self._has_generated(place, run, job, event)
            case events.JobBlocked() | events.JobFailed():
                if isinstance(event, events.JobFailed):
                    self._reports.last_words(place, event.kind)
                if isinstance(event.error, OutOfMemory) and place.gpus:
                    self._out_of_memory(place, run, event.error)
                else:
                    self._failed(place, event.error)

    def _out_of_memory(self, place: Place, run: Run, error: OutOfMemory) -> None:
        """Whose doing it was is seen by a look at the GPU; until then the job stays at its place."""

        def then(judged: PovwatchError) -> None:
            if place.run is run:
                self._failed(place, judged)

        self._other_processes.judge(place, run.job, error, then)

    def _has_generated(self, place: Place, run: Run, job: Job, event: events.JobGenerated) -> None:
        took = self._store.clock.boot() - (run.generating_since or run.started)
        run.attempt.artifact = event.artifact
        run.attempt.capabilities = place.supervisor.capabilities or {}
        run.attempt.seconds["generate"] = round(took, 3)
        run.attempt.gpu = run.use.figures()
        learned = self.estimates.learn(run.attempt, self._crew.gpu_name(place), took)
        job = self._store.move(
            job,
            "generated",
            said={"took": spell_duration(took), "gpu": run.attempt.gpu, "learned": learned},
            state=JobState.CHECKING,
            artifact=run.attempt.to_json(),
        )
        place.run = None
        self.availability.generated()
        self._generated(job, run.attempt)

    def _lost(self, place: Place, event: events.WorkerLost) -> None:
        self._reports.last_words(place)
        say("worker-lost", problem=str(event.error), worker=place.number, where=self._crew.where(place))
        run = place.run
        if run is None:
            waiting = Waiting.GPU_LOST if isinstance(event.error, GpuLost) else Waiting.ENGINE_UNAVAILABLE
            self.availability.lost(str(event.error), waiting, others=self._crew.loaded)
        elif run.run_id == event.run_id:  # else it is being prepared: _prepared sees that the worker is gone
            self._failed(place, event.error)

    def _failed(self, place: Place, error: PovwatchError) -> None:
        """The attempt at this place ended in an error."""
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
