"""The run stage: claims queued jobs for workers, prepares them, and lets the workers generate.

A job is claimed when a worker is ready; until then its JSON may be edited. preparing.py makes the job's copies, perhaps
ahead of the claim. Generated jobs go on in results/stage.py, while the worker already has the next job.
"""

from __future__ import annotations

import json
import uuid
from collections import Counter
from typing import TYPE_CHECKING

from povwatch.attempt import soundtrack
from povwatch.core import changes, retry
from povwatch.core.errors import EnvironmentFault, OutOfMemory, PovwatchError
from povwatch.core.events import say
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.layout import output
from povwatch.core.looks import kind_of
from povwatch.core.machine_faults import Place, retry_times
from povwatch.core.stage import Mishap, Stage
from povwatch.core.unforeseen import translate_unforeseen
from povwatch.core.units import spell_duration
from povwatch.engines import eta
from povwatch.process import protocol
from povwatch.run.estimates import RuntimeEstimates
from povwatch.run.preparing import Preparing, frozen
from povwatch.workers import events
from povwatch.workers.events import noted
from povwatch.workers.states import SupervisorState

if TYPE_CHECKING:
    from povwatch.attempt.failed import FailedAttempts
    from povwatch.config.settings import Config
    from povwatch.core.background import Background
    from povwatch.files.free_space import FreeSpace
    from povwatch.journal.store import JobStore
    from povwatch.publish import Publisher
    from povwatch.queue.order import JobQueue
    from povwatch.spec.model import Spec
    from povwatch.workers.pool import Run, Worker, WorkerPool

PROGRESS_LINES = 10
"""Log lines about a job: one for every tenth."""

ALMOST = 1e-9
"""Tolerance for a fraction of whole steps: 0.3 times 10 is not always 3."""

PROGRESS_EVERY = 2.0
"""Seconds between two writes of a job's progress to the journal."""


class RunStage(Stage):
    """Hands queued jobs to workers."""

    states = (JobState.RUNNING,)

    def __init__(
        self,
        config: Config,
        *,
        store: JobStore,
        publisher: Publisher,
        background: Background,
        failed_attempts: FailedAttempts,
        free_space: FreeSpace,
        queue: JobQueue,
        pool: WorkerPool,
    ) -> None:
        self._config = config
        self._store = store
        self._publisher = publisher
        self._failed_attempts = failed_attempts
        self._free_space = free_space
        self._queue = queue
        self._pool = pool
        self._preparing = Preparing(
            config.paths.inputs, store=store, queue=queue, staging=publisher.staging, background=background
        )
        self._put_offs: Counter[int] = Counter()
        """How often in a row each job was put off because of its own folder in outputs/."""
        self.estimates = RuntimeEstimates(store.journal, pool.engine_kind)

    # -- the daemon's side

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        deadlines = (self._pool.next_deadline(), self._queue.next_deadline())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def tick(self, now: float) -> None:
        """Handle the workers' events, and hand out the next jobs."""
        self.handle_worker_events(now)
        self._pool.log_loads()
        self._queue.shorten_pauses()
        for worker in self._pool.workers:
            self._hand_over(worker)
        for worker in self._pool.workers:
            free = worker.run is None and worker.supervisor.state is SupervisorState.READY
            if free and self._queue.blocker is None:
                self._claim_next(worker)
                self._hand_over(worker)
        blocker = self._queue.blocker
        if blocker is not None and blocker.waiting is Waiting.DISK_FULL:
            self._preparing.drop_all()
        self._preparing.tick(now, wanted=self._pool.generating if blocker is None else 0)
        self._queue.note_blocker()

    def handle_worker_events(self, now: float) -> None:
        """Handle the workers' events, without handing out jobs."""
        for worker, event in self._pool.poll(now):
            run = worker.run
            try:
                self._handle(worker, event, now)
            except Exception as error:  # noqa: BLE001 - it costs the job an attempt, not the daemon
                worker.run = run
                self._failed(worker, translate_unforeseen(error, "while it handled a worker's message"))

    def cancel(self, job: Job, why: str) -> None:
        """See Stage. The running job ends soon."""
        if (worker := self._worker_of(job)) is not None and (run := worker.run) is not None:
            run.cancel = why
            self._preparing.cancel(run)
            if run.generating_since is not None and worker.supervisor.state is SupervisorState.BUSY:
                worker.supervisor.cancel(run.run_id, why)

    def resume(self, job: Job) -> str:
        """See Stage. The job goes back to the queue and the crash is counted; the third one fails it.

        A clean stop gives the jobs back, so this was a crash.
        """
        self._failed_attempts.requeue_after_crash(job)
        return "to run again"

    def try_again(self, mishap: Mishap) -> None:
        """See Stage. The attempt ends with the error."""
        job, error = mishap.job, mishap.error
        if (worker := self._worker_of(job)) is not None and (run := worker.run) is not None:
            if worker.supervisor.state is SupervisorState.BUSY:
                worker.supervisor.cancel(run.run_id, str(error))
            self._failed(worker, error)
        job = self._store.job(job.id)
        if job.state is JobState.RUNNING:  # no worker has it, and none will
            self._failed_attempts.end(job, error)

    def give_up(self, job: Job, error: PovwatchError) -> None:
        """See Stage."""
        self._failed_attempts.give_up(job, error)

    def close(self) -> None:
        """End the workers now, and give their jobs back uncharged."""
        self._pool.close()
        for worker in self._pool.workers:
            if worker.run is not None:
                self._failed_attempts.requeue_uncharged(self._store.job(worker.run.job), "povwatch was stopped.")
                worker.run = None
        self._preparing.close()

    # -- claim

    def _claim_next(self, worker: Worker) -> None:
        """Claim the first job that may start for a worker. The job's copies may exist already."""
        for queued in self._queue.due():
            try:
                if self._try_claim(queued, worker):
                    return
            except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
                self._store.mishaps.charge(queued.id, "claimed", error)

    def _try_claim(self, queued: Job, worker: Worker) -> bool:
        """Try to claim a job. Returns False if only this job cannot be claimed, so that the next one is tried."""
        spec = self._queue.specs.spec_of(queued)
        if spec is None:  # it was edited, held or withdrawn this very moment
            return False
        job = self._store.job(queued.id)
        if self._free_space.lacking() is not None or not self._outputs_take_files():
            return True
        try:
            self._publisher.preflight(output(self._config.publish.layout, job.path, job.base, kind_of("aug", job.look)))
        except EnvironmentFault as error:  # only this job's folder in outputs/; other jobs go on
            self._put_off(job, error)
            return False
        except PovwatchError as error:
            self._failed_attempts.fail(job, error)
            return False
        worker.run = self._claim(job, spec, worker)
        return True

    def _outputs_take_files(self) -> bool:
        """Whether a run could write in outputs/ now. If not, nothing is claimed and the queue waits."""
        try:
            self._publisher.staging.probe()
        except EnvironmentFault as error:
            self._failed_attempts.hold_queue(error)
            return False
        except PovwatchError:  # a link has its place: the job that meets it reports it
            return True
        return True

    def _put_off(self, job: Job, error: EnvironmentFault) -> None:
        wall = self._store.clock.wall()
        job = self._store.wait(job, retry.waiting_for(error), str(error))
        self._put_offs[job.id] += 1
        again = retry_times(error)
        pause = again.pause(self._put_offs[job.id]) if again else retry.ENVIRONMENT_PAUSE
        self._store.apply(job, changes.NotBefore(at=wall + pause))

    def _claim(self, job: Job, spec: Spec, worker: Worker) -> Run | None:
        run = self._preparing.take(job, spec)
        run_id = run.run_id if run else uuid.uuid4().hex
        started = changes.Started(
            run_id=run_id,
            attempt=job.attempts + 1,
            limit=self._config.engine.attempts,
            worker=worker.number,
            on=", ".join(worker.gpus),
            spec_json=json.dumps(frozen(spec)),
            spec_hash=spec.digest(),
            engine=self._pool.engine_kind,
        )
        job = self._store.apply(job, started)
        if self._store.job(job.id).run_id != run_id:  # the grace stage's `leave` failed, and that ended the attempt
            return None
        self._put_offs.pop(job.id, None)
        try:
            return run or self._preparing.begin(job, run_id, spec)
        except PovwatchError as error:
            self._failed_attempts.end(job, error)
            return None

    # -- generate

    def _hand_over(self, worker: Worker) -> None:
        """Let a worker generate its job, once the job's copies are made."""
        run = worker.run
        if run is None or run.generating_since is not None or not (run.prepared or run.failure):
            return
        try:
            self._begin(worker, run, self._store.job(run.job))
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
            self._store.mishaps.charge(run.job, "handed over", error)

    def _begin(self, worker: Worker, run: Run, job: Job) -> None:
        if job.run_id != run.run_id:  # the attempt ended meanwhile
            worker.run = None
        elif run.cancel is not None:
            worker.run = None
            self._failed_attempts.cancel(job, run.cancel)
        elif run.failure is not None:
            self._failed(
                worker, translate_unforeseen(run.failure, "while it was prepared", Place.PREPARE, run.attempt.folder)
            )
        elif worker.supervisor.state is not SupervisorState.READY:  # the worker was lost; the job is not to blame
            worker.run = None
            self._failed_attempts.requeue_uncharged(job, "The worker was lost before it had the job.")
        else:
            try:
                soundtrack.log_problems(self._store, job, run.attempt.sound)
                self._generate(worker, run, job)
                self._queue.pauses.prepared()
            except Exception as error:  # noqa: BLE001 - it costs the job an attempt, not the daemon
                where = "while it was handed to the worker"
                self._failed(worker, translate_unforeseen(error, where, Place.PRIVATE_FOLDER, run.attempt.folder))

    def _generate(self, worker: Worker, run: Run, job: Job) -> None:
        # From here on the worker uses paths. This checks that their folders belong to povwatch.
        checkpoints = str(self._publisher.staging.checkpoints(job.id))
        run.attempt.keep_controls = self._config.publish.keep_controls
        request = protocol.Generate(run.attempt.request(job.id), run.run_id, run.attempt.folder, checkpoints)
        worker.forget_lines()
        worker.supervisor.generate(request)
        run.generating_since = self._store.clock.boot()
        run.expected = self.estimates.expected(run.attempt.info, run.attempt.spec, self._pool.gpu_name(worker))
        if worker.gpus:
            self._pool.sample()  # a short job may get no other sample

    # -- what the workers say

    def _handle(self, worker: Worker, event: events.Event, now: float) -> None:
        run = worker.run
        match event:
            case protocol.Progress():
                if run is not None and run.run_id == event.run_id:
                    note_progress(self._store, run, event, now)
            case protocol.Generated() | events.JobFailed() | events.JobCancelled():
                if run is not None and run.run_id == event.run_id:
                    self._end(worker, run, event)
            case _:
                self._pool.handle(worker, event)
                if isinstance(event, events.WorkerLost) and run is not None and run.run_id == event.run_id:
                    self._failed(worker, event.error)

    def _end(
        self, worker: Worker, run: Run, event: protocol.Generated | events.JobFailed | events.JobCancelled
    ) -> None:
        job = self._store.job(run.job)
        match event:
            case _ if run.cancel is not None:
                worker.run = None
                self._failed_attempts.cancel(job, run.cancel)
            case events.JobCancelled():
                worker.run = None
                self._failed_attempts.requeue_uncharged(job, event.why)
            case protocol.Generated():
                self._generated(worker, run, job, event)
            case events.JobFailed():
                worker.log_last_lines(event.failure_kind)
                if isinstance(event.error, OutOfMemory) and worker.gpus:
                    self._out_of_memory(worker, run, event.error)
                else:
                    self._failed(worker, event.error)

    def _out_of_memory(self, worker: Worker, run: Run, error: OutOfMemory) -> None:
        """Find out from the GPU which process used the memory; until then the job keeps its worker."""

        def then(judged: PovwatchError) -> None:
            if worker.run is run:
                self._failed(worker, judged)

        self._pool.judge_out_of_memory(worker, run.job, error, then)

    def _generated(self, worker: Worker, run: Run, job: Job, event: protocol.Generated) -> None:
        took = self._store.clock.boot() - (run.generating_since or run.started)
        run.attempt.artifact = event.artifact
        run.attempt.capabilities = worker.supervisor.capabilities or {}
        run.attempt.seconds["generate"] = round(took, 3)
        run.attempt.gpu = run.use.figures()
        learned = self.estimates.learn(run.attempt, self._pool.gpu_name(worker), took)
        generated = changes.Generated(
            artifact=run.attempt.to_json(), took=spell_duration(took), gpu=run.attempt.gpu, learned=learned
        )
        worker.run = None
        for note in noted(event.artifact):
            say("engine-note", job, engine=self._pool.engine_kind, note=note)
        self._queue.pauses.generated()
        self._store.apply(job, generated)

    def _failed(self, worker: Worker, error: PovwatchError) -> None:
        """End the attempt of this worker's job with an error."""
        run, worker.run = worker.run, None
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
            self._failed_attempts.end(job, error, prepared=run.generating_since is not None)

    def _worker_of(self, job: Job) -> Worker | None:
        """The worker that has a job, or that waits for its copies."""
        return next((w for w in self._pool.workers if w.run is not None and w.run.job == job.id), None)


def note_progress(store: JobStore, run: Run, progress: protocol.Progress, now: float) -> None:
    """Keep a job's progress, and log every tenth."""
    fraction = progress.fraction
    elapsed = now - (run.generating_since or now)
    left = eta.left(fraction, elapsed, run.expected)
    run.progress, run.left = progress, left
    tenths = int(fraction * PROGRESS_LINES + ALMOST)
    if tenths > run.logged_tenths and fraction < 1:
        run.logged_tenths = tenths
        spelled = spell_duration(left) if left is not None else "unknown"
        percent = f"{int(fraction * 100 + ALMOST)}"
        say("progress", store.job(run.job), percent=percent, stage=progress.stage, eta=spelled)
    if now - run.noted_at >= PROGRESS_EVERY:
        run.noted_at = now
        data = {
            "fraction": round(fraction, 4),
            "stage": progress.stage,
            "chunk": progress.chunk,
            "chunks": progress.chunks,
            "step": progress.step,
            "steps": progress.steps,
            "eta": None if left is None else round(left, 1),
        }
        store.journal.set_progress(run.job, data, store.clock.wall())
