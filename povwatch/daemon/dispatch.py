"""From the queue to a worker and back: claim, prepare, generate.

A job is claimed when a worker is ready for it: until then its JSON may still be edited.
What comes back goes on in finisher.py, while the worker has the next job already.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from povwatch.daemon.availability import PAUSE
from povwatch.daemon.places import Hurdle, Place, Run
from povwatch.daemon.reports import Reports
from povwatch.daemon.unforeseen import in_words
from povwatch.daemon.workpiece import Workpiece
from povwatch.engine import events
from povwatch.engine.protocol import Generate
from povwatch.engine.states import SupervisorState
from povwatch.errors import DiskFull, EnvironmentFault, PovwatchError, SourceChanged
from povwatch.job import Job, JobState, Waiting
from povwatch.layout import output
from povwatch.publish.faults import FULL
from povwatch.units import spell_duration
from povwatch.voice import say

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from povwatch.config import Config
    from povwatch.daemon.availability import Availability
    from povwatch.daemon.background import Background
    from povwatch.daemon.endings import Endings
    from povwatch.daemon.gates import Gates
    from povwatch.daemon.ledger import Ledger
    from povwatch.engine.supervisor import Supervisor
    from povwatch.publish import Publisher


class Dispatch:
    """Hands queued jobs to workers."""

    def __init__(
        self,
        config: Config,
        *,
        kind: str,
        ledger: Ledger,
        gates: Gates,
        publisher: Publisher,
        background: Background,
        endings: Endings,
        availability: Availability,
        supervisors: list[Supervisor],
        generated: Callable[[Job, Workpiece], None],
    ) -> None:
        """Make it; no worker is started yet.

        Args:
            config: the configuration.
            kind: of the engine.
            ledger: the jobs.
            gates: know whether a JSON is still the one that the grace ran for.
            publisher: makes the private folders.
            background: where preparing runs.
            endings: what becomes of a job after an error.
            availability: whether the engine can take jobs.
            supervisors: one a worker.
            generated: told of a job whose artifact is there, `checking` already.
        """
        self._config = config
        self._kind = kind
        self._ledger = ledger
        self._gates = gates
        self._publisher = publisher
        self._background = background
        self._endings = endings
        self._places = [Place(supervisor) for supervisor in supervisors]
        self._generated = generated
        self._reports = Reports(ledger, kind)
        self.availability = availability

    # -- the daemon's side

    def start(self) -> None:
        """Start the workers; they load while clips arrive."""
        say("engine-loading", engine=self._kind)
        for place in self._places:
            place.supervisor.start()

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        deadlines = [d for place in self._places if (d := place.supervisor.next_deadline()) is not None]
        if (pause := self.availability.next_deadline()) is not None:
            deadlines.append(pause)
        deadlines += [self._boot(job.not_before) for job in self._ledger.in_state(JobState.QUEUED) if job.not_before]
        return min(deadlines, default=None)

    def tick(self, now: float, *, hurdle: Hurdle | None) -> None:
        """Take in what the workers say, and give the next jobs out.

        Args:
            now: boot clock.
            hurdle: why no job may start now, if that is so.
        """
        self.settle(now)
        self._reports.loading(self._places)
        for place in self._places:
            hurdle = hurdle or self.availability.hurdle(now)  # claiming a job may meet one
            if hurdle is None and place.run is None and place.supervisor.state is SupervisorState.READY:
                self._claim_next(place, now)
        self._wait(hurdle or self.availability.hurdle(now) or Hurdle(Waiting.TURN, "it starts when a worker is free"))

    @property
    def busy(self) -> bool:
        """Whether a worker has a job."""
        return any(place.run is not None for place in self._places)

    def workers(self) -> list[dict[str, Any]]:
        """The workers, for `status`."""
        return [
            {
                "pid": place.supervisor.pid,
                "state": str(place.supervisor.state),
                "job": place.run.job if place.run else None,
                "problem": str(place.supervisor.last_error) if place.supervisor.last_error else None,
            }
            for place in self._places
        ]

    def cancel(self, job: Job, why: str) -> None:
        """A running job is no longer wanted; its end follows."""
        for place in self._places:
            if place.run is not None and place.run.job == job.id:
                place.run.cancel = why
                self._background.cancel(("prepare", job.id))
                if place.run.generating_since is not None and place.supervisor.state is SupervisorState.BUSY:
                    place.supervisor.cancel(place.run.run_id, why)

    def fail(self, job: Job, error: PovwatchError) -> None:
        """A running job's attempt ends in an error that did not come from its worker."""
        for place in self._places:
            if place.run is not None and place.run.job == job.id:
                if place.supervisor.state is SupervisorState.BUSY:
                    place.supervisor.cancel(place.run.run_id, str(error))
                self._failed(place, error)

    def stop(self, why: str) -> None:
        """Tell the workers to end; `tick` until `stopped`."""
        for place in self._places:
            if place.supervisor.state is not SupervisorState.STOPPED:
                place.supervisor.stop(why)

    @property
    def stopped(self) -> bool:
        """Whether every worker has ended."""
        return all(place.supervisor.state is SupervisorState.STOPPED for place in self._places)

    def settle(self, now: float) -> None:
        """Take in what the workers say, without giving anything out."""
        for place in self._places:
            for event in place.supervisor.poll(now):
                run = place.run
                try:
                    self._take_in(place, event, now)
                except Exception as error:  # noqa: BLE001 - it costs the job an attempt, not the daemon
                    place.run = run
                    self._failed(place, in_words(error, "while a worker's word was taken in"))

    def close(self) -> None:
        """End the workers here and now; give their jobs back, nothing charged."""
        for place in self._places:  # all of them first: giving back may fail
            place.supervisor.close()
        for place in self._places:
            if place.run is not None:
                self._endings.release(self._ledger.job(place.run.job), "povwatch was stopped.")
                place.run = None

    # -- claim and prepare

    def _claim_next(self, place: Place, now: float) -> None:
        wall = self._ledger.clock.wall()
        for queued in self._ledger.in_state(JobState.QUEUED):
            if queued.not_before > wall:
                continue
            spec = self._gates.spec_of(queued)
            if spec is None:  # it was edited, held or withdrawn this very moment
                continue
            job = self._ledger.job(queued.id)
            try:
                self._publisher.preflight(output(self._config.publish.layout, job.path, job.base, "aug"))
            except EnvironmentFault as error:
                self.availability.pause(Waiting.PAUSED, str(error), wall + PAUSE)
                return
            except PovwatchError as error:
                self._endings.fail(job, error)
                continue
            self._claim(place, job, spec.model_dump(mode="json", by_alias=True), spec.digest(), now)
            return

    def _claim(self, place: Place, job: Job, spec: dict[str, Any], digest: str, now: float) -> None:
        run_id = uuid.uuid4().hex
        job = self._ledger.move(
            job,
            "started",
            said={"attempt": job.attempts + 1, "attempts": self._config.engine.attempts},
            state=JobState.RUNNING,
            run_id=run_id,
            attempts=job.attempts + 1,
            waiting_on=None,
            detail="",
            spec_json=json.dumps(spec),
            spec_hash=digest,
            engine=self._kind,
            go=False,
            error=None,
        )
        self._gates.drop(job)
        try:
            folder = self._publisher.staging(job.id, run_id)
        except PovwatchError as error:
            self._endings.after(job, error)
            return
        piece = Workpiece(folder=str(folder), info=json.loads(job.source_info or "{}"), spec=spec)
        place.run = run = Run(job.id, run_id, piece, now)

        def work(cancelled: threading.Event) -> None:
            piece.prepare(self._config.paths.inputs, job.path, lambda _: None, cancelled)

        self._background.submit(("prepare", job.id), work, lambda outcome: self._prepared(place, run, outcome))

    def _prepared(self, place: Place, run: Run, outcome: Exception | None) -> None:
        job = self._ledger.job(run.job)
        if place.run is not run or job.run_id != run.run_id:
            return  # the attempt ended meanwhile
        if run.cancel is not None:
            place.run = None
            self._endings.cancel(job, run.cancel)
        elif isinstance(outcome, Exception):
            error = _told(outcome) if isinstance(outcome, OSError) else in_words(outcome, "while it was prepared")
            self._failed(place, error)
        elif place.supervisor.state is not SupervisorState.READY:  # the worker was lost meanwhile: not the job's doing
            place.run = None
            self._endings.release(job, "The worker was lost before it had the job.")
        else:
            try:
                self._generate(place, run, job)
            except Exception as error:  # noqa: BLE001 - it costs the job an attempt, not the daemon
                self._failed(place, in_words(error, "while it was handed to the worker"))

    def _generate(self, place: Place, run: Run, job: Job) -> None:
        ready = run.piece.prepared
        how = "the clip as it is" if ready["copied"] else f"made in {spell_duration(run.piece.seconds['prepare'])}"
        shape = f"{ready['width']}x{ready['height']}"
        say("prepared", job, frames=ready["frames"], shape=shape, how=how)
        checkpoints = str(self._publisher.checkpoints(job.id))
        request = Generate(run.piece.request(job.id), run.run_id, run.piece.folder, checkpoints)
        place.forget_words()
        place.supervisor.generate(request)
        run.generating_since = self._ledger.clock.boot()

    # -- what the workers say

    def _take_in(self, place: Place, event: events.Event, now: float) -> None:
        match event:
            case events.EngineLoaded():
                self.availability.loaded()
                place.forget_words()
                say("engine-ready", engine=self._kind, took=spell_duration(event.seconds))
            case events.EngineUnavailable():
                self._reports.last_words(place)
                problem = f"{event.message} {event.todo}".strip()
                self.availability.load_failed(event.kind, problem, event.retry_at, others=self._loaded)
            case events.WorkerLost():
                self._lost(place, event)
            case events.EngineOutput():
                self._reports.output(place, event.line)
            case events.JobProgress() if place.run is not None and place.run.run_id == event.run_id:
                self._reports.progress(place.run, event, now)
            case events.JobGenerated() | events.JobFailed() | events.JobBlocked() | events.JobCancelled():
                self._end(place, event, now)

    def _end(
        self,
        place: Place,
        event: events.JobGenerated | events.JobFailed | events.JobBlocked | events.JobCancelled,
        now: float,
    ) -> None:
        run = place.run
        if run is None or run.run_id != event.run_id:
            return
        job = self._ledger.job(run.job)
        match event:
            case _ if run.cancel is not None:
                place.run = None
                self._endings.cancel(job, run.cancel)
            case events.JobCancelled():
                place.run = None
                self._endings.release(job, event.why)
            case events.JobGenerated():
                self._has_generated(place, run, job, event, now)
            case events.JobBlocked() | events.JobFailed():
                if isinstance(event, events.JobFailed):
                    self._reports.last_words(place)
                self._failed(place, event.error)

    def _has_generated(self, place: Place, run: Run, job: Job, event: events.JobGenerated, now: float) -> None:
        took = now - (run.generating_since or run.started)
        run.piece.artifact = event.artifact
        run.piece.capabilities = place.supervisor.capabilities or {}
        run.piece.seconds["generate"] = round(took, 3)
        job = self._ledger.move(
            job,
            "generated",
            said={"took": spell_duration(took)},
            state=JobState.CHECKING,
            artifact=run.piece.to_json(),
        )
        place.run = None
        self.availability.generated()
        self._generated(job, run.piece)

    def _lost(self, place: Place, event: events.WorkerLost) -> None:
        self._reports.last_words(place)
        say("worker-lost", problem=str(event.error))
        run = place.run
        if run is None:
            self.availability.lost(str(event.error), others=self._loaded)
        elif run.run_id == event.run_id:  # else it is being prepared: _prepared sees that the worker is gone
            self._failed(place, event.error)

    @property
    def _loaded(self) -> bool:
        """Whether any worker has the engine loaded."""
        return any(place.supervisor.capabilities for place in self._places)

    def _failed(self, place: Place, error: PovwatchError) -> None:
        """The attempt at this place ended in an error."""
        run, place.run = place.run, None
        if run is None:
            return
        job = self._ledger.job(run.job)
        if job.run_id != run.run_id or job.state not in {JobState.RUNNING, JobState.CHECKING}:
            return  # its attempt ended already
        if run.cancel is not None:
            self._endings.cancel(job, run.cancel)
        else:
            self._endings.after(job, error)

    # -- helpers

    def _wait(self, hurdle: Hurdle) -> None:
        """Note for every queued job what it waits on, but for those that wait on something of their own.

        The log has one line about it already, which is not said again for each of a thousand jobs.
        """
        wall, now = self._ledger.clock.wall(), (hurdle.waiting, hurdle.problem)
        waiting = [
            job
            for job in self._ledger.in_state(JobState.QUEUED)
            if job.not_before <= wall and (job.waiting_on, job.detail) != now
        ]
        if waiting:
            with self._ledger.journal.batch():
                for job in waiting:
                    self._ledger.wait(job, hurdle.waiting, hurdle.problem, quiet=True)

    def _boot(self, wall: float) -> float:
        return wall - self._ledger.clock.wall() + self._ledger.clock.boot()


def _told(error: OSError) -> PovwatchError:
    if error.errno in FULL:
        return DiskFull(f"No space is left for the working copy ({error.strerror}).", "Free some.")
    return SourceChanged(f"The clip cannot be copied: {error.strerror}.")
