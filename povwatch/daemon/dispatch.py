"""From the queue to a worker and back: claim, prepare, generate.

A job is claimed when a worker is ready for it: until then its JSON may still be edited.
What comes back goes on in finish.py, while the worker has the next job already.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from povwatch.daemon.workpiece import Workpiece
from povwatch.engine import events
from povwatch.engine.protocol import Generate
from povwatch.engine.states import SupervisorState
from povwatch.errors import PovwatchError, SourceChanged
from povwatch.job import Job, JobState, Waiting
from povwatch.layout import output
from povwatch.units import spell_duration
from povwatch.voice import say

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from povwatch.config import Config
    from povwatch.daemon.background import Background
    from povwatch.daemon.endings import Endings
    from povwatch.daemon.gates import Gates
    from povwatch.daemon.ledger import Ledger
    from povwatch.engine.supervisor import Supervisor
    from povwatch.publish import Publisher

PROGRESS_STEP = 0.1
"""A line in the log for every tenth of a job."""

PROGRESS_EVERY = 2.0
"""Seconds between two notes of a job's progress in the journal."""


@dataclass(slots=True)
class Run:
    """An attempt under way at a worker."""

    job: int
    run_id: str
    piece: Workpiece
    started: float
    generating_since: float | None = None
    said: float = 0.0
    noted_at: float = 0.0
    cancel: str | None = None
    """Why it is to be cancelled, if it is."""


@dataclass(slots=True)
class Place:
    """A worker and the attempt that it has, or waits for."""

    supervisor: Supervisor
    run: Run | None = None


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
        self._loading_said: str | None = None
        self.unavailable: str | None = None
        """Why no job can be given to the engine, if that is so."""
        self.failed_loads = 0
        """How often in a row the engine could not be loaded."""

    # -- the daemon's side

    def start(self) -> None:
        """Start the workers; they load while clips arrive."""
        say("engine-loading", engine=self._kind)
        for place in self._places:
            place.supervisor.start()

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        deadlines = [d for place in self._places if (d := place.supervisor.next_deadline()) is not None]
        deadlines += [self._boot(job.not_before) for job in self._ledger.in_state(JobState.QUEUED) if job.not_before]
        return min(deadlines, default=None)

    def tick(self, now: float, *, blocked: tuple[Waiting, str] | None) -> None:
        """Take in what the workers say, and give the next jobs out.

        Args:
            now: boot clock.
            blocked: why no job may start now, if that is so.
        """
        for place in self._places:
            for event in place.supervisor.poll(now):
                self._take_in(place, event, now)
            self._say_loading(place)
        if blocked is None and self.unavailable is not None:
            blocked = (Waiting.ENGINE_UNAVAILABLE, self.unavailable)
        if blocked is not None:
            self._wait(*blocked)
            return
        for place in self._places:
            if place.run is None and place.supervisor.state is SupervisorState.READY:
                self._claim_next(place, now)
        self._wait(Waiting.TURN, "other clips go first" if any(p.run for p in self._places) else "the engine loads")

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
        """Take in what the workers say, without giving anything out: for the end."""
        for place in self._places:
            for event in place.supervisor.poll(now):
                self._take_in(place, event, now)

    def close(self) -> None:
        """End the workers here and now; give their jobs back, nothing charged."""
        for place in self._places:
            place.supervisor.close()
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
            self._drop(place)
            self._endings.cancel(job, run.cancel)
        elif isinstance(outcome, (PovwatchError, OSError)):
            self._drop(place)
            self._endings.after(job, outcome if isinstance(outcome, PovwatchError) else _told(outcome))
        elif isinstance(outcome, Exception):
            raise outcome
        elif place.supervisor.state is not SupervisorState.READY:  # the worker was lost meanwhile: not the job's doing
            self._drop(place)
            self._endings.release(job, "the worker was lost before it had the job.")
        else:
            self._generate(place, run, job)

    def _generate(self, place: Place, run: Run, job: Job) -> None:
        ready = run.piece.prepared
        how = "the clip as it is" if ready["copied"] else f"made in {spell_duration(run.piece.seconds['prepare'])}"
        shape = f"{ready['width']}x{ready['height']}"
        say("prepared", job, frames=ready["frames"], shape=shape, how=how)
        checkpoints = str(self._publisher.checkpoints(job.id))
        request = Generate(run.piece.request(job.id), run.run_id, run.piece.folder, checkpoints)
        place.supervisor.generate(request)
        run.generating_since = self._ledger.clock.boot()

    # -- what the workers say

    def _take_in(self, place: Place, event: events.Event, now: float) -> None:
        match event:
            case events.EngineLoaded():
                self.unavailable, self.failed_loads = None, 0
                say("engine-ready", engine=self._kind, took=spell_duration(event.seconds))
            case events.EngineUnavailable():
                problem = f"{event.message} {event.todo}".strip()
                self._not_available(problem, event.retry_at, "engine-unavailable")
            case events.WorkerLost():
                self._lost(place, event)
            case events.EngineOutput():
                say("engine-output", line=event.line)
            case events.JobProgress():
                self._progress(place, event, now)
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
        place.run = None
        match event:
            case events.JobCancelled():
                if run.cancel is not None:
                    self._endings.cancel(job, run.cancel)
                else:
                    self._endings.release(job, f"{event.why}.")
            case events.JobGenerated():
                self._has_generated(place, run, job, event, now)
            case _:
                self._endings.after(job, event.error)

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
        self._generated(job, run.piece)

    def _lost(self, place: Place, event: events.WorkerLost) -> None:
        say("worker-lost", problem=str(event.error))
        run, place.run = place.run, None
        if run is not None and run.run_id == event.run_id:
            self._endings.after(self._ledger.job(run.job), event.error)
        elif run is not None:
            place.run = run  # it is still being prepared; _prepared sees that the worker is gone
        else:
            self._not_available(str(event.error), event.retry_at, None)

    def _not_available(self, problem: str, retry_at: float, event: str | None) -> None:
        self.failed_loads += 1
        if not any(p.supervisor.capabilities for p in self._places):
            self.unavailable = problem
        if event:
            say(event, engine=self._kind, problem=problem, at=self._spell(retry_at))

    def _progress(self, place: Place, event: events.JobProgress, now: float) -> None:
        run = place.run
        if run is None or run.run_id != event.run_id:
            return
        fraction = event.fraction
        elapsed = now - (run.generating_since or now)
        eta = elapsed / fraction - elapsed if fraction > 0 else None
        if fraction >= run.said + PROGRESS_STEP and fraction < 1:
            run.said = fraction - fraction % PROGRESS_STEP
            left = spell_duration(eta) if eta is not None else "unknown"
            say("progress", self._ledger.job(run.job), percent=f"{fraction * 100:.0f}", stage=event.stage, eta=left)
        if now - run.noted_at >= PROGRESS_EVERY:
            run.noted_at = now
            self._ledger.journal.set_progress(
                run.job,
                {
                    "fraction": round(fraction, 4),
                    "stage": event.stage,
                    "chunk": event.chunk,
                    "chunks": event.chunks,
                    "step": event.step,
                    "steps": event.steps,
                    "eta": None if eta is None else round(eta, 1),
                },
                self._ledger.clock.wall(),
            )

    # -- helpers

    def _drop(self, place: Place) -> None:
        place.run = None

    def _wait(self, waiting: Waiting, detail: str) -> None:
        """Tell every queued job what it waits on, but for those that wait on something of their own."""
        wall = self._ledger.clock.wall()
        for job in self._ledger.in_state(JobState.QUEUED):
            if job.not_before <= wall:
                self._ledger.wait(job, waiting, detail, quiet=waiting is Waiting.TURN)

    def _say_loading(self, place: Place) -> None:
        loading = place.supervisor.loading
        if loading is None:
            self._loading_said = None if place is self._places[0] else self._loading_said
            return
        stage, fraction = loading
        text = stage if fraction is None else f"{stage}, {int(fraction * 10) * 10} %"
        if text != self._loading_said:
            self._loading_said = text
            say("engine-load-progress", engine=self._kind, stage=text)

    def _boot(self, wall: float) -> float:
        return wall - self._ledger.clock.wall() + self._ledger.clock.boot()

    def _spell(self, boot: float) -> str:
        return "after a reboot" if boot == float("inf") else self._ledger.clock.spell(boot)


def _told(error: OSError) -> PovwatchError:
    return SourceChanged(f"The clip cannot be copied: {error.strerror}.")
