"""The run stage: claims queued jobs for workers, prepares them, and lets the workers generate.

A job is claimed when a worker is ready (claims.py); until then its JSON may be edited. preparing.py makes the job's
copies, perhaps ahead of the claim. Generated jobs go on in results/stage.py, while the worker already has the next job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.attempt import soundtrack
from povwatch.core.changes import Generated
from povwatch.core.errors import EnvironmentFault, OutOfMemory, PovwatchError
from povwatch.core.events import say
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.machine_faults import Place
from povwatch.core.retry import ENVIRONMENT_PAUSE
from povwatch.core.stage import Mishap, Stage
from povwatch.core.unforeseen import translate_unforeseen
from povwatch.core.units import spell_duration
from povwatch.engines import eta
from povwatch.process import protocol
from povwatch.run.estimates import RuntimeEstimates
from povwatch.workers import events
from povwatch.workers.events import noted
from povwatch.workers.pool import COPYING
from povwatch.workers.states import SupervisorState

if TYPE_CHECKING:
    from povwatch.attempt.failed import FailedAttempts
    from povwatch.journal.store import JobStore
    from povwatch.publish.staging import Staging
    from povwatch.queue.order import JobQueue
    from povwatch.queue.pauses import QueuePauses
    from povwatch.run.claims import Claims
    from povwatch.run.preparing import Preparing
    from povwatch.workers.pool import ActiveAttempt, Worker, WorkerPool

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
        *,
        store: JobStore,
        queue: JobQueue,
        pauses: QueuePauses,
        claims: Claims,
        preparing: Preparing,
        pool: WorkerPool,
        staging: Staging,
        failed_attempts: FailedAttempts,
    ) -> None:
        self._store = store
        self._queue = queue
        self._pauses = pauses
        self._claims = claims
        self._preparing = preparing
        self._pool = pool
        self._staging = staging
        self._failed_attempts = failed_attempts
        self.estimates = RuntimeEstimates(store.journal, pool.engine_kind)

    # -- the daemon's side

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        deadlines = (self._pool.next_deadline(), self._queue.next_deadline(), self._pauses.next_deadline())
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    def tick(self, now: float) -> None:
        """Handle the workers' events, and hand out the next jobs."""
        self.handle_worker_events(now)
        self._pool.log_loads()
        self._queue.shorten_pauses()
        for worker in self._pool.workers:
            self._hand_over(worker)
        for worker in self._pool.free:
            if self._queue.blocker is None:
                self._claims.claim_first(self._queue.due(), worker)
                self._hand_over(worker)
        blocker = self._queue.blocker
        if blocker is not None and blocker.waiting is Waiting.DISK_FULL:
            self._preparing.drop_all()
        self._preparing.tick(now, wanted=self._pool.generating if blocker is None else 0)
        self._queue.note_blocker()

    def handle_worker_events(self, now: float) -> None:
        """Handle the workers' events, without handing out jobs."""
        for worker, event in self._pool.poll(now):
            active = worker.active
            try:
                self._handle(worker, event, now)
            except Exception as error:  # noqa: BLE001 - it costs the job an attempt, not the daemon
                worker.active = active
                self._failed(worker, translate_unforeseen(error, "while it handled a worker's message"))

    def cancel(self, job: Job, why: str) -> None:
        """See Stage. The running job ends soon."""
        if (worker := self._worker_of(job)) is not None and (active := worker.active) is not None:
            active.cancel = why
            self._preparing.cancel(active)
            if active.generating_since is not None and worker.supervisor.state is SupervisorState.BUSY:
                worker.supervisor.cancel(active.run_id, why)

    def resume(self, job: Job) -> str:
        """See Stage. The job goes back to the queue and the crash is counted; the third one fails it.

        A clean stop gives the jobs back, so this was a crash.
        """
        self._failed_attempts.requeue_after_crash(job)
        return "to run again"

    def try_again(self, mishap: Mishap) -> None:
        """See Stage. The attempt ends with the error."""
        job, error = mishap.job, mishap.error
        if (worker := self._worker_of(job)) is not None and (active := worker.active) is not None:
            if worker.supervisor.state is SupervisorState.BUSY:
                worker.supervisor.cancel(active.run_id, str(error))
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
            if worker.active is not None:
                self._failed_attempts.requeue_uncharged(self._store.job(worker.active.job), "povwatch was stopped.")
                worker.active = None
        self._preparing.close()

    # -- generate

    def _hand_over(self, worker: Worker) -> None:
        """Let a worker generate its job, once the job's copies are made."""
        active = worker.active
        if active is None or active.generating_since is not None:
            return
        if not (active.prepared or active.failure):
            note_making(self._store, active)
            return
        try:
            self._begin(worker, active, self._store.job(active.job))
        except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
            self._store.mishaps.charge(active.job, "handed over", error)

    def _begin(self, worker: Worker, active: ActiveAttempt, job: Job) -> None:
        if job.run_id != active.run_id:  # the attempt ended meanwhile
            worker.active = None
        elif active.cancel is not None:
            worker.active = None
            self._failed_attempts.cancel(job, active.cancel)
        elif active.failure is not None:
            self._failed(
                worker,
                translate_unforeseen(active.failure, "while it was prepared", Place.PREPARE, active.attempt.folder),
            )
        elif worker.supervisor.state is not SupervisorState.READY:  # the worker was lost; the job is not to blame
            worker.active = None
            self._failed_attempts.requeue_uncharged(job, "The worker was lost before it had the job.")
        else:
            try:
                soundtrack.log_problems(self._store, job, active.attempt.sound)
                self._generate(worker, active, job)
                self._pauses.prepared()
            except Exception as error:  # noqa: BLE001 - it costs the job an attempt, not the daemon
                where = "while it was handed to the worker"
                self._failed(worker, translate_unforeseen(error, where, Place.PRIVATE_FOLDER, active.attempt.folder))

    def _generate(self, worker: Worker, active: ActiveAttempt, job: Job) -> None:
        # From here on the worker uses paths. This checks that their folders belong to povwatch.
        checkpoints = str(self._staging.checkpoints(job.id))
        self._preparing.share_controls(job, active.attempt)
        request = protocol.Generate(active.attempt.request(job.id), active.run_id, active.attempt.folder, checkpoints)
        worker.forget_lines()
        worker.supervisor.generate(request)
        active.generating_since = self._store.clock.boot()
        attempt = active.attempt
        active.expected = self.estimates.expected(
            attempt.info, attempt.spec, self._pool.gpu_name(worker), attempt.speed
        )
        if worker.gpus:
            self._pool.sample()  # a short job may get no other sample

    # -- what the workers say

    def _handle(self, worker: Worker, event: events.Event, now: float) -> None:
        active = worker.active
        match event:
            case protocol.Progress():
                if active is not None and active.run_id == event.run_id:
                    note_progress(self._store, active, event, now)
            case protocol.Generated() | events.JobFailed() | events.JobCancelled():
                if active is not None and active.run_id == event.run_id:
                    self._end(worker, active, event)
            case events.OutOfMemoryJudged():
                if active is not None and active.run_id == event.run_id:
                    self._failed(worker, event.error)
            case _:
                self._pool.handle(worker, event)
                if isinstance(event, events.WorkerLost) and active is not None and active.run_id == event.run_id:
                    self._failed(worker, event.error)

    def _end(
        self, worker: Worker, active: ActiveAttempt, event: protocol.Generated | events.JobFailed | events.JobCancelled
    ) -> None:
        job = self._store.job(active.job)
        match event:
            case _ if active.cancel is not None:
                worker.active = None
                self._failed_attempts.cancel(job, active.cancel)
            case events.JobCancelled():
                worker.active = None
                later = self._store.clock.wall() + event.pause if event.pause else 0.0
                self._failed_attempts.requeue_uncharged(job, event.why, not_before=later)
            case protocol.Generated():
                self._generated(worker, active, job, event)
            case events.JobFailed():
                worker.log_last_lines(event.failure_kind)
                if event.failure_kind == "error":
                    self._preparing.forget_controls(job, active.attempt)
                if isinstance(event.error, EnvironmentFault) and worker.place is not None:
                    self._fault_elsewhere(worker, job, event.error)
                elif (
                    isinstance(event.error, OutOfMemory) and worker.gpus
                ):  # the job keeps its worker until it is judged
                    self._pool.judge_out_of_memory(worker, event)
                else:
                    self._failed(worker, event.error)

    def _fault_elsewhere(self, worker: Worker, job: Job, error: EnvironmentFault) -> None:
        """Another machine failed a job that is not to blame. Only that machine is, so the queue goes on."""
        worker.active = None
        self._pool.fault_elsewhere(worker, error)
        later = self._store.clock.wall() + ENVIRONMENT_PAUSE
        self._failed_attempts.requeue_uncharged(job, f"{worker.label}: {error}", not_before=later)

    def _generated(self, worker: Worker, active: ActiveAttempt, job: Job, event: protocol.Generated) -> None:
        took = self._store.clock.boot() - (active.generating_since or active.started)
        active.attempt.artifact = event.artifact
        active.attempt.capabilities = worker.supervisor.capabilities or {}
        active.attempt.seconds["generate"] = round(took, 3)
        active.attempt.gpu = active.use.figures()
        self._pool.count_use(worker, took, active.attempt.gpu)
        learned = self.estimates.learn(active.attempt, self._pool.gpu_name(worker), took)
        approximated = (event.artifact.get("approximated") or {}).get("what", "")
        generated = Generated(
            artifact=active.attempt.to_json(),
            took=spell_duration(took),
            gpu=active.attempt.gpu,
            learned=learned,
            approximated=approximated,
        )
        worker.active = None
        self._pool.generated(worker)
        self._keep_controls(job, active)
        if approximated:
            say("approximated", job, speed=active.attempt.speed, what=approximated)
        for note in noted(event.artifact):
            say("engine-note", job, engine=self._pool.engine_kind, note=note)
        self._pauses.generated()
        self._store.apply(job, generated)

    def _keep_controls(self, job: Job, active: ActiveAttempt) -> None:
        """Keep computed controls for other looks of the clip. If that fails, the result is whole all the same."""
        try:
            self._preparing.keep_controls(job, active.attempt)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look computes them
            translate_unforeseen(error, "while it kept a control for other looks")

    def _failed(self, worker: Worker, error: PovwatchError) -> None:
        """End the attempt of this worker's job with an error."""
        active, worker.active = worker.active, None
        if active is None:
            return
        if active.generating_since is not None:
            self._pool.count_use(worker, self._store.clock.boot() - active.generating_since, active.use.figures())
        job = self._store.job(active.job)
        if job.run_id != active.run_id or job.state not in {JobState.RUNNING, JobState.CHECKING}:
            return  # its attempt ended already
        if used := active.use.figures():
            if active.generating_since is not None:
                used["seconds"] = round(self._store.clock.boot() - active.generating_since, 3)
            self._store.journal.note(job, "gpu-use", self._store.clock.wall(), used)
        if active.cancel is not None:
            self._failed_attempts.cancel(job, active.cancel)
        else:
            self._failed_attempts.end(job, error, prepared=active.generating_since is not None)

    def _worker_of(self, job: Job) -> Worker | None:
        """The worker that has a job, or that waits for its copies."""
        return next((w for w in self._pool.workers if w.active is not None and w.active.job == job.id), None)


def note_making(store: JobStore, active: ActiveAttempt) -> None:
    """Keep the progress of a control that is computed before the engine generates: that may take minutes."""
    now, made = store.clock.boot(), active.making
    if made.what == COPYING or now - active.noted_at < PROGRESS_EVERY:
        return
    active.noted_at = now
    nothing = {"chunk": 0, "chunks": 1, "step": 0, "steps": 1, "eta": None}
    data = {"fraction": round(made.fraction, 4), "stage": made.what, **nothing}
    store.journal.set_progress(active.job, data, store.clock.wall())


def note_progress(store: JobStore, active: ActiveAttempt, progress: protocol.Progress, now: float) -> None:
    """Keep a job's progress, and log every tenth."""
    fraction = progress.fraction
    elapsed = now - (active.generating_since or now)
    left = eta.left(fraction, elapsed, active.expected)
    active.progress, active.left = progress, left
    tenths = int(fraction * PROGRESS_LINES + ALMOST)
    if tenths > active.logged_tenths and fraction < 1:
        active.logged_tenths = tenths
        spelled = spell_duration(left) if left is not None else "unknown"
        percent = f"{int(fraction * 100 + ALMOST)}"
        say("progress", store.job(active.job), percent=percent, stage=progress.stage, eta=spelled)
    if now - active.noted_at >= PROGRESS_EVERY:
        active.noted_at = now
        data = {
            "fraction": round(fraction, 4),
            "stage": progress.stage,
            "chunk": progress.chunk,
            "chunks": progress.chunks,
            "step": progress.step,
            "steps": progress.steps,
            "eta": None if left is None else round(left, 1),
        }
        store.journal.set_progress(active.job, data, store.clock.wall())
