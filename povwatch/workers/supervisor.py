"""The parent of a worker: starts, watches, replaces and ends it.

    STOPPED   start -> BACKOFF, without a pause
    LOADING   loaded -> READY       failed, dead, overdue -> BACKOFF              stop -> STOPPING
    READY     generate -> BUSY      dead, silent -> BACKOFF                       stop -> STOPPING
              (prompts may be checked meanwhile; a job that is given to the worker begins afterwards)
    BUSY      the job's end -> READY, or BACKOFF if the job spoilt the worker;
              dead, silent, stalled, replaced -> BACKOFF                          stop -> STOPPING
    BACKOFF   the worker gone, the pause over (`due`): spawn -> LOADING           stop -> STOPPING, or STOPPED
    STOPPING  the worker gone -> STOPPED

A worker on another machine is adopted: STOPPED -> LOADING, or READY if its engine is loaded. Nobody here starts another
one in its place: where it says BACKOFF above, the state is STOPPED once the worker is gone.

A worker ends in steps. Its fault is noted and not reported yet (`_abandon`). The worker gets time to exit by itself.
Then SIGTERM follows if the daemon stops, and then SIGKILL (`_terminate`). Once the process is gone (`_reap`), the fault
is reported, and the next worker may start (`spawn`). So no two workers are on one GPU, unless one cannot be killed
when the daemon stops.
"""

from __future__ import annotations

import signal
from math import inf
from typing import TYPE_CHECKING, Any

from povwatch.core import errors, machine_faults
from povwatch.core.events import say
from povwatch.core.retry import backoff
from povwatch.engines.port import SPOILING
from povwatch.process import protocol
from povwatch.process.output import is_progress_bar
from povwatch.process.start import describe_end
from povwatch.workers import events
from povwatch.workers.process import Exited, Gone, HungUp, Item, Printed
from povwatch.workers.states import (
    CurrentCheck,
    CurrentJob,
    CurrentWorker,
    InvalidState,
    Overdue,
    SupervisorState,
    Timeouts,
    deadlines,
    loss,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.core.clock import Clock
    from povwatch.workers.launch import Launch
    from povwatch.workers.process import Process

WATCH = 5.0
"""Longest time in seconds between two polls while there is a worker."""

ASLEEP = 15.0
"""Seconds without a poll after which the machine must have slept, or the daemon was stopped. The worker is not to
blame."""

PROVEN = 60.0
"""Seconds after its load from which a worker counts as good: the pauses after failures start anew."""

S = SupervisorState


class Supervisor:
    """Keeps one worker going, with one job at a time.

    Each job that the worker gets ends exactly once; see events.py. A call that the state does not allow raises
    InvalidState and changes nothing. Only `close` waits, and what sends a message: for 2 s at most if the worker does
    not read (process.py). The daemon's loop calls `poll` when it is woken and at `next_deadline`, acts on the events,
    and calls `spawn` when another worker is `due` and may start.

    All methods are for one thread. It must outlive the workers, because the kernel ends them with it.
    """

    def __init__(
        self, launch: Launch, timeouts: Timeouts, *, clock: Clock, new_process: Callable[[Launch], Process] | None
    ) -> None:
        """No worker is started yet.

        Args:
            new_process: starts a worker's process; None if one is adopted.

        Raises:
            ProtocolError: The engine's configuration is not made of JSON values.
        """
        protocol.encode(protocol.Load(launch.config), 1)
        self._launch = launch
        self._timeouts = timeouts
        self._clock = clock
        self._new_process = new_process
        self.state = S.STOPPED
        self.failures = 0
        """Times in a row that a worker could not be loaded or was lost."""
        self.last_error: errors.PovwatchError | None = None
        """Why the engine is unavailable; None once it is loaded."""
        self.retry_at = 0.0
        """When the next worker starts, in BACKOFF."""
        self._worker: CurrentWorker | None = None
        self._checked: list[protocol.PromptsChecked] = []
        """Answers of the text filters for the next `take_checked`."""
        self._events: list[events.Event] = []
        """Events for the next poll."""
        self._polled_at = 0.0
        self._stop_why = ""

    # -- what the daemon does ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Have a worker started. EngineLoaded or EngineUnavailable follows; after the latter, it is retried."""
        self._require(S.STOPPED)
        self.failures = 0
        self._polled_at = self._clock.boot()
        self._back_off(self._polled_at, at_once=True)

    def due(self, now: float) -> bool:
        """Whether the next worker is to be started."""
        return self.state is S.BACKOFF and self._worker is None and now >= self.retry_at

    def spawn(self, now: float) -> None:
        """Start the worker that is due. If that fails, EngineUnavailable follows, and it is due again after a pause."""
        if self._new_process is None or not self.due(now):
            raise InvalidState(f"The worker is {self.state}; no other is due.")
        try:
            process = self._new_process(self._launch)
        except OSError as error:
            self._back_off(now)
            if known := machine_faults.blamed(error, machine_faults.Place.PROCESS, "the worker"):
                self._report_unavailable("shortage", known.what, known.todo)
                return
            what = f"engine.python {self._launch.python!r} cannot be started: {error.strerror}."
            self._report_unavailable("error", what, "Set engine.python to the interpreter of the engine's environment.")
            return
        self.state = S.LOADING
        self._worker = CurrentWorker(process, started_at=now, heard_at=now)
        process.send(protocol.Load(self._launch.config))  # if the process is dead already, its `Exited` follows
        say("worker-started", pid=process.pid, engine=self._launch.engine)

    def adopt(self, process: Process, capabilities: dict[str, Any] | None = None) -> None:
        """Take a worker on another machine, whose process runs. Once it is gone, no other one follows.

        Args:
            capabilities: what its engine can do, if it is loaded; else the engine is loaded now.
        """
        self._require(S.STOPPED)
        now = self._polled_at = self._clock.boot()
        self._worker = CurrentWorker(process, started_at=now, heard_at=now)
        if capabilities is None:
            self.state = S.LOADING
            process.send(protocol.Load(self._launch.config))
        else:
            self.state = S.READY
            self._worker.capabilities, self._worker.loaded_at = capabilities, now

    def generate(self, request: protocol.Generate) -> None:
        """Give the worker a job. Exactly one end of the job follows.

        Raises:
            ProtocolError: The job is not made of JSON values; nothing was changed.
        """
        self._require(S.READY)
        worker, now = self._alive(), self._clock.boot()
        if not worker.process.send(request):  # the worker is dying; its `Exited` follows
            worker.exit_by = now
        self.state = S.BUSY
        worker.job = CurrentJob(request, progressed_at=now)

    def check_prompts(self, request: protocol.CheckPrompts) -> None:
        """Have the worker's text filters check some texts. `take_checked` has the answer, unless the worker is lost.

        Raises:
            ProtocolError: The texts are too long for a message; nothing was changed.
        """
        self._require(S.READY)
        worker, now = self._alive(), self._clock.boot()
        if worker.check is not None:
            raise InvalidState("The worker checks other prompts.")
        if not worker.process.send(request):  # the worker is dying; its `Exited` follows
            worker.exit_by = now
        worker.check = CurrentCheck(request, now)

    def take_checked(self) -> list[protocol.PromptsChecked]:
        """The answers of the text filters since the last call."""
        found, self._checked = self._checked, []
        return found

    def cancel(self, run_id: str, why: str) -> None:
        """Cancel the job. JobCancelled follows, even if the job ends otherwise just now."""
        self._require(S.BUSY)
        worker = self._alive()
        job = worker.job
        if job is None or job.request.run_id != run_id:
            raise InvalidState(f"Attempt {run_id!r} cannot be cancelled: it is not the one under way.")
        if job.cancel_why is None:
            job.cancel_why, job.cancelled_at = why, self._clock.boot()
            worker.process.send(protocol.Cancel(job.request.job_id, run_id, why))

    def replace(self, error: errors.Transient) -> None:
        """Kill the worker for a fault of its GPU that it cannot see itself; another worker follows.

        Once it is gone, WorkerLost follows with this error, or EngineUnavailable if it was loading. Nothing happens if
        there is no worker, or if it is about to go already.
        """
        if self.state in (S.LOADING, S.READY, S.BUSY):
            worker, now = self._alive(), self._clock.boot()
            self._abandon(worker, now, error)
            self._kill(worker, now)

    def stop(self, why: str) -> None:
        """End the worker: tell it to end, then send SIGTERM, then SIGKILL. Go on polling until STOPPED.

        This takes `stop`, `terminate` and `last_kill` of Timeouts together at most. A job under way ends with
        JobCancelled, or with Generated if it was done just then.
        """
        self._require(S.LOADING, S.READY, S.BUSY, S.BACKOFF)
        self._stop_why = why
        worker, now = self._worker, self._clock.boot()
        if worker is None:
            self.state = S.STOPPED
            return
        self.state = S.STOPPING
        if worker.killed_at is not None:
            worker.killed_at = now
        else:
            heard = worker.process.send(protocol.Shutdown())
            worker.exit_by = min(worker.exit_by or inf, now + self._timeouts.stop if heard else now)

    def close(self) -> None:
        """Kill the worker, in any state, without a further event. Waits 2 s at most for its end."""
        worker, self._worker, self.state = self._worker, None, S.STOPPED
        if worker is not None:
            worker.process.kill()
            if not worker.process.join(2.0):
                say("worker-unkillable", pid=worker.process.pid)

    def poll(self, now: float) -> list[events.Event]:
        """Read the worker's messages, enforce the deadlines, and return the events. Never waits."""
        worker, asleep = self._worker, now - self._polled_at
        if worker is not None:
            if asleep > ASLEEP:
                say("slept", seconds=round(asleep, 1))
                worker.forgive(asleep)
            for item in worker.process.take():
                self._handle_item(worker, item, now)
            self._enforce_deadlines(now)
        self._polled_at = now
        found, self._events = self._events, []
        return found

    def next_deadline(self) -> float | None:
        """When `poll` is due if nothing wakes the loop before; None if never."""
        if self._events:
            return self._polled_at
        if self._worker is not None:
            due = deadlines(self._worker, self.state, self._timeouts)
            return min([self._polled_at + WATCH, *(at for at, _ in due)])
        if self.state is not S.BACKOFF:
            return None
        return self.retry_at if self.retry_at > self._polled_at else self._polled_at + WATCH

    # -- what can be seen ----------------------------------------------------------------------------------------------

    @property
    def capabilities(self) -> dict[str, Any] | None:
        """The engine's capabilities; None while it is not loaded."""
        return self._worker.capabilities if self._worker is not None and self.state in (S.READY, S.BUSY) else None

    @property
    def checking(self) -> int | None:
        """The number of the check of prompts under way; None without one."""
        return self._worker.check.request.number if self._worker is not None and self._worker.check else None

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return self._worker.process.pid if self._worker is not None else None

    @property
    def loading(self) -> tuple[str, float | None] | None:
        """Stage of the load under way, and its fraction, 0 to 1, if known."""
        return self._worker.loading if self._worker is not None and self.state is S.LOADING else None

    # -- what the worker says ------------------------------------------------------------------------------------------

    def _handle_item(self, worker: CurrentWorker, item: Item, now: float) -> None:
        if isinstance(item, Printed):
            if not is_progress_bar(item.line):
                worker.last_line = item.line
            self._events.append(events.EngineOutput(item.line))
        elif isinstance(item, Exited):
            self._reap(worker, item.returncode, now)
        elif isinstance(item, Gone):
            self._part(worker, item, now)
        elif worker.killed_at is not None:
            return
        elif isinstance(item, HungUp):
            worker.hung_up = item.why
            worker.exit_by = min(worker.exit_by or inf, now + self._timeouts.exit)
        else:
            worker.heard_at = max(worker.heard_at, item.at)
            self._handle_message(worker, item.message, now)

    def _handle_message(self, worker: CurrentWorker, message: protocol.Message, now: float) -> None:
        if isinstance(message, protocol.Heartbeat):
            return
        if isinstance(message, (protocol.Hello, protocol.LoadProgress, protocol.Loaded, protocol.LoadFailed)):
            if self.state is S.LOADING:
                self._handle_load_message(worker, message, now)
            return
        if isinstance(message, protocol.PromptsChecked):
            self._end_check(worker, message, now)
            return
        self._handle_job_message(worker, message, now)

    def _handle_job_message(self, worker: CurrentWorker, message: protocol.Message, now: float) -> None:
        job, run_id = worker.job, getattr(message, "run_id", None)
        if job is None or run_id != job.request.run_id:
            say("late-message", type=message.type, run_id=run_id)
        elif isinstance(message, protocol.Started):
            job.started = True
        elif isinstance(message, protocol.Progress):
            if message != job.progress:
                job.progress, job.progressed_at = message, now
                self._events.append(message)
        elif isinstance(message, events.JobEnd):
            self._end_job(worker, job, message, now)

    def _handle_load_message(self, worker: CurrentWorker, message: protocol.Message, now: float) -> None:
        if isinstance(message, protocol.Hello):
            if message.protocol != protocol.VERSION:
                what = f"The worker speaks protocol {message.protocol}, the daemon {protocol.VERSION}."
                self._abandon(worker, now, errors.WorkerDied(what, "povwatch was changed on disk: restart it."))
        elif isinstance(message, protocol.LoadProgress):
            worker.loading = (message.stage, message.fraction)
        elif isinstance(message, protocol.Loaded):
            worker.capabilities, worker.loaded_at = message.capabilities, now
            self.state, self.last_error = S.READY, None
            self._events.append(events.EngineLoaded(message.capabilities, now - worker.started_at))
        elif isinstance(message, protocol.LoadFailed):
            worker.exit_by = now + self._timeouts.exit
            self._back_off(now)
            self._report_unavailable(message.kind, message.message, message.todo)

    def _end_check(self, worker: CurrentWorker, message: protocol.PromptsChecked, now: float) -> None:
        if worker.check is None or worker.check.request.number != message.number:
            return
        worker.check = None
        self._checked.append(message)
        if worker.job is not None:  # it waited for this
            worker.job.progressed_at = now
        if message.kind in SPOILING:  # a job would meet the same
            self.replace(errors.WorkerDied(f"The guardrail's text filters spoilt the worker: {message.problem}"))

    def _end_job(self, worker: CurrentWorker, job: CurrentJob, message: events.JobEnd, now: float) -> None:
        self._events.append(events.job_end(message, job.cancel_why, self._stop_why))
        worker.job = None
        if self.state is S.STOPPING:
            return
        self.state = S.READY
        failure_kind = message.kind if isinstance(message, protocol.Failed) else ""
        if failure_kind not in SPOILING:
            self.failures = 0
            return
        say("worker-replaced", pid=worker.process.pid, why=failure_kind)
        self._back_off(now, at_once=failure_kind != "gpu-lost")
        self._kill(worker, now)

    # -- from one worker to the next -----------------------------------------------------------------------------------

    def _enforce_deadlines(self, now: float) -> None:
        worker = self._worker
        if worker is None:
            return
        late = next((late for at, late in deadlines(worker, self.state, self._timeouts) if now >= at), None)
        if late is Overdue.DEATH:
            self._give_up_killing(worker, now)
        elif late is Overdue.EXIT and self.state in (S.STOPPING, S.BACKOFF):
            self._terminate(worker, now)
        elif late is not None:
            worker.process.signal(signal.SIGUSR1)  # makes the worker print every thread's stack to the log
            self._abandon(worker, now, loss(late, worker, self._timeouts))

    def _abandon(self, worker: CurrentWorker, now: float, error: events.Loss) -> None:
        """Give up a worker for a fault of its own, which is reported once it is gone. It is killed soon."""
        worker.unreported = self._lose(worker, error, now)
        worker.exit_by = now + self._timeouts.stacks

    def _terminate(self, worker: CurrentWorker, now: float) -> None:
        """Signal a worker that did not exit by itself: SIGTERM once if the daemon stops, then SIGKILL."""
        if self.state is S.BACKOFF or worker.terminated:
            self._kill(worker, now)
        else:
            worker.process.signal(signal.SIGTERM)
            worker.terminated, worker.exit_by = True, now + self._timeouts.terminate

    def _kill(self, worker: CurrentWorker, now: float) -> None:
        worker.process.kill()
        worker.killed_at = now

    def _give_up_killing(self, worker: CurrentWorker, now: float) -> None:
        """The worker was killed and stays. No other one starts until it is gone, or the daemon stops."""
        say("worker-unkillable", pid=worker.process.pid)
        if self.state is S.STOPPING:  # whoever stops the daemon ends what it leaves
            self._reap(worker, None, now)
            return
        worker.unkillable = True
        self.retry_at = inf
        self._report_loss(worker)
        what = f"The worker was killed but does not go away (process {worker.process.pid})."
        self._report_unavailable("gpu-lost", what, "It hangs in the kernel, most likely in the GPU's driver: reboot.")

    def _reap(self, worker: CurrentWorker, returncode: int | None, now: float) -> None:
        """The worker's process is gone. Without a `returncode`, it is left behind alive."""
        say("worker-gone", pid=worker.process.pid, returncode=returncode)
        self._worker = None
        self._report_loss(worker)
        if self.state is S.STOPPING:
            if (job := worker.job) is not None:
                why = job.cancel_why or self._stop_why
                self._events.append(events.JobCancelled(job.request.job_id, job.request.run_id, why))
            self.state = S.STOPPED
        elif self.state is S.BACKOFF:
            self.retry_at = now if worker.unkillable else self.retry_at
        elif returncode is not None:
            error = errors.WorkerDied(f"The worker {describe_end(returncode)}.{_last_line(worker)}")
            self._events += self._lose(worker, error, now)

    def _part(self, worker: CurrentWorker, gone: Gone, now: float) -> None:
        """The worker on another machine is gone, or out of reach: its fault, or nobody's."""
        say("worker-gone", pid=worker.process.pid, returncode=gone.why)
        self._worker = None
        self._report_loss(worker)
        ours = self.state in (S.LOADING, S.READY, S.BUSY)
        if ours and gone.died:
            self._events += self._lose(worker, errors.RemoteWorkerDied(f"{gone.why}{_last_line(worker)}"), now)
        elif (job := worker.job) is not None:
            why = job.cancel_why or self._stop_why or gone.why
            self._events.append(events.JobCancelled(job.request.job_id, job.request.run_id, why, gone.pause))
        if ours and not gone.died:
            self._events.append(events.WorkerLeft(gone.why, broken=gone.broken))
        self.state = S.STOPPED

    def _lose(self, worker: CurrentWorker, error: events.Loss, now: float) -> list[events.Event]:
        """Record the loss of the worker and its job; return the events to report."""
        if worker.loaded_at is not None and now - worker.loaded_at >= PROVEN:
            self.failures = 0
        self._back_off(now)
        self.last_error = error
        if worker.loaded_at is None:
            return [events.EngineUnavailable(events.failure_kind_of(error), error.what, error.todo, self.retry_at)]
        job, worker.job = worker.job, None
        lost_without_job = events.WorkerLost(None, None, error, self.retry_at)
        if job is None:
            return [lost_without_job]
        ids = (job.request.job_id, job.request.run_id)
        if job.cancel_why is not None or not job.started:
            why = job.cancel_why or "The worker was lost before the job began."
            return [events.JobCancelled(*ids, why), lost_without_job]
        return [events.WorkerLost(*ids, error, self.retry_at)]

    def _back_off(self, now: float, *, at_once: bool = False) -> None:
        """Have another worker start after a pause; at once if nothing failed."""
        self.state = S.BACKOFF
        self.failures += not at_once
        self.retry_at = now if at_once else now + backoff(self.failures)

    def _report_unavailable(self, failure_kind: str, message: str, todo: str) -> None:
        self.last_error = error = events.job_error(failure_kind, message, todo)
        self._events.append(events.EngineUnavailable(failure_kind, error.what, error.todo, self.retry_at))

    def _report_loss(self, worker: CurrentWorker) -> None:
        self._events += worker.unreported
        worker.unreported = []

    # -- helpers -------------------------------------------------------------------------------------------------------

    def _require(self, *states: SupervisorState) -> None:
        if self.state not in states:
            raise InvalidState(f"The worker is {self.state}; this needs it {' or '.join(states)}.")

    def _alive(self) -> CurrentWorker:
        if self._worker is None:
            raise AssertionError(self.state)
        return self._worker


def _last_line(worker: CurrentWorker) -> str:
    return f" It last printed: {worker.last_line}" if worker.last_line else ""
