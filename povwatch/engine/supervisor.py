"""The parent of a worker: starts it, watches its deadlines, replaces it, ends it.

    STOPPED   start -> LOADING
    LOADING   loaded -> READY       failed, dead, overdue -> BACKOFF              stop -> STOPPING
    READY     generate -> BUSY      dead, silent -> BACKOFF                       stop -> STOPPING
    BUSY      the job's end -> READY, or BACKOFF where it spoilt the worker;
              dead, silent, stalled -> BACKOFF                                    stop -> STOPPING
    BACKOFF   the worker gone and the pause over -> LOADING                       stop -> STOPPING, or STOPPED
    STOPPING  the worker gone -> STOPPED

A call that the state does not allow raises InvalidState and changes nothing.
Nothing here waits but `close`: the daemon's loop calls `poll` when it is woken and at `next_deadline`, and acts
on the events. All methods are for that one thread, which must outlive the workers: the kernel ends them with it.
"""

from __future__ import annotations

import signal
from math import inf
from typing import TYPE_CHECKING, Any

from povwatch import errors
from povwatch.engine import events, protocol
from povwatch.engine.life import Life, Process
from povwatch.engine.overdue import Overdue, deadlines, loss
from povwatch.engine.process import Exited, HungUp, Item, Launch, Printed, WorkerProcess, ending
from povwatch.engine.states import InvalidState, Limits, Log, SupervisorState
from povwatch.retry import backoff

if TYPE_CHECKING:
    from collections.abc import Callable

PROVEN = 60.0
"""A worker that ran for so many seconds after its load shows that the pauses may begin anew."""

WATCH = 5.0
"""Seconds between two polls, at most, while there is a worker."""

ASLEEP = 15.0
"""After a longer time without a poll the machine slept, or the daemon was stopped: no fault of the worker."""

SPOILING = {"out-of-memory", "sticky", "gpu-lost"}
"""Failures after which the worker is replaced."""


S = SupervisorState


class Supervisor:
    """Keeps one worker going, one job at a time."""

    def __init__(
        self,
        launch: Launch,
        *,
        load_timeout: float,
        stall_timeout: float,
        heartbeat_timeout: float = 30.0,
        stop_timeout: float = 5.0,
        cancel_timeout: float = 60.0,
        clock: Callable[[], float],
        wake: Callable[[], None],
        log: Log,
        spawn: Callable[..., Process] = WorkerProcess,
    ) -> None:
        """Prepare; `start` starts.

        Args:
            launch: How a worker is started.
            load_timeout: Seconds from its start to a loaded engine.
            stall_timeout: Seconds in which a job's progress must change.
            heartbeat_timeout: Seconds in which a worker must say anything at all.
            stop_timeout: Seconds that a stop leaves the worker before signals; all of it takes 2.5 s more at most.
            cancel_timeout: Seconds that an engine gets to let go of a cancelled job.
            clock: Seconds; best one that counts suspends (CLOCK_BOOTTIME). `poll` gets times of the same clock.
            wake: Called from other threads when there is something to poll.
            log: Where it says what it does.
            spawn: Makes a process from (launch, clock=, wake=).

        Raises:
            ProtocolError: The engine's configuration is not made of JSON values.
        """
        protocol.encode(protocol.Load(launch.config), 1)
        self._launch = launch
        self._limits = Limits(load_timeout, stall_timeout, heartbeat_timeout, stop_timeout, cancel_timeout)
        self._clock = clock
        self._wake = wake
        self._log = log
        self._make = spawn
        self._state = S.STOPPED
        self._life: Life | None = None
        self._failures = 0
        """How often in a row a worker could not be loaded, or was lost."""
        self._retry_at = 0.0
        self._polled_at = 0.0
        self._stop_why = ""
        self._events: list[events.Event] = []
        self.last_error: errors.PovwatchError | None = None
        """Why the engine is not available; None once it is loaded."""

    # -- what the daemon does ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a worker. EngineLoaded or EngineUnavailable follows; in the latter case it is tried again."""
        self._require(S.STOPPED)
        self._failures = 0
        self._polled_at = self._clock()
        self._spawn(self._polled_at)

    def generate(self, request: protocol.Generate) -> None:
        """Give the worker a job. Exactly one end of it follows (see events.py).

        Raises:
            ProtocolError: The job is not made of JSON values; nothing was changed.
        """
        self._require(S.READY)
        life = self._alive()
        now = self._clock()
        if not life.process.send(request):  # it is dying; its end will say so
            life.leave_at = now
        self._state = S.BUSY
        life.request, life.begun, life.progress, life.moved_at, life.cancel_why = request, False, None, now, None

    def cancel(self, run_id: str, why: str) -> None:
        """The job is no longer wanted. JobCancelled follows, even if the job should end otherwise just now."""
        self._require(S.BUSY)
        life = self._alive()
        if life.request is None or life.request.run_id != run_id:
            raise InvalidState(f"Attempt {run_id!r} cannot be cancelled: it is not the one under way.")
        if life.cancel_why is None:
            life.cancel_why, life.cancelled_at = why, self._clock()
            life.process.send(protocol.Cancel(life.request.job_id, run_id, why))

    def stop(self, why: str) -> None:
        """End the worker: it is told, then terminated after `stop_timeout`, then killed. Go on polling until STOPPED.

        A job under way ends with JobCancelled, or with JobGenerated if it was done just then.
        """
        self._require(S.LOADING, S.READY, S.BUSY, S.BACKOFF)
        self._stop_why = why
        if self._life is None:
            self._state = S.STOPPED
            return
        self._state = S.STOPPING
        now = self._clock()
        if self._life.killed_at is not None:
            self._life.killed_at = now
        else:
            told = self._life.process.send(protocol.Shutdown())
            self._life.leave_at = min(self._life.leave_at or inf, now + self._limits.stop if told else now)

    def close(self) -> None:
        """End the worker here and now, in any state, without a further event. Waits 2 s for its end at most."""
        life, self._life, self._state = self._life, None, S.STOPPED
        if life is not None:
            life.process.kill()
            if not life.process.join(2.0):
                self._log.warning("worker-unkillable", pid=life.process.pid)

    def poll(self, now: float) -> list[events.Event]:
        """Take in what happened, act on what is overdue, and tell. Never waits."""
        if self._life is not None:
            if now - self._polled_at > ASLEEP:
                self._log.info("slept", seconds=round(now - self._polled_at, 1))
                self._life.shift(now - self._polled_at)
            for item in self._life.process.take():
                self._take_in(item, now)
            self._enforce(now)
        self._polled_at = now
        if self._state is S.BACKOFF and self._life is None and now >= self._retry_at:
            self._spawn(now)
        told, self._events = self._events, []
        return told

    def next_deadline(self) -> float | None:
        """When `poll` is due if nothing wakes it before; None: not at all."""
        if self._events:
            return self._polled_at
        if self._life is not None:
            return min([self._polled_at + WATCH, *(at for at, _ in deadlines(self._life, self._state, self._limits))])
        return self._retry_at if self._state is S.BACKOFF else None

    # -- what can be seen ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> SupervisorState:
        """Where it stands."""
        return self._state

    @property
    def capabilities(self) -> dict[str, Any] | None:
        """What the engine said about itself; None while it is not loaded."""
        return self._life.capabilities if self._life is not None and self._state in (S.READY, S.BUSY) else None

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return self._life.process.pid if self._life is not None else None

    @property
    def progress(self) -> events.JobProgress | None:
        """How far the job at hand is."""
        return self._life.progress if self._life is not None else None

    @property
    def loading(self) -> tuple[str, float | None] | None:
        """Stage of the load under way, and its fraction where that is known."""
        return self._life.loading if self._life is not None and self._state is S.LOADING else None

    @property
    def loaded_at(self) -> float | None:
        """When the engine was loaded."""
        return self._life.loaded_at if self._life is not None else None

    @property
    def retry_at(self) -> float | None:
        """When the next worker is started."""
        return self._retry_at if self._state is S.BACKOFF else None

    # -- what the worker says ------------------------------------------------------------------------------------------

    def _take_in(self, item: Item, now: float) -> None:
        life = self._life
        if life is None:  # nothing comes after Exited
            return
        if isinstance(item, Printed):
            life.last_line = item.line
            self._events.append(events.EngineOutput(item.line))
        elif isinstance(item, Exited):
            self._bury(life, item.returncode, now)
        elif life.killed_at is not None:
            return
        elif isinstance(item, HungUp):
            life.hung_up, life.leave_at = item.why, min(life.leave_at or inf, now + self._limits.leave)
        else:
            life.heard_at = max(life.heard_at, item.at)
            self._hear(life, item.message, now)

    def _hear(self, life: Life, message: protocol.Message, now: float) -> None:
        if isinstance(message, protocol.Heartbeat):
            return
        if isinstance(message, (protocol.Hello, protocol.LoadProgress, protocol.Loaded, protocol.LoadFailed)):
            if self._state is S.LOADING:
                self._hear_load(life, message, now)
            return
        request = life.request
        run_id = getattr(message, "run_id", None)
        if request is None or run_id != request.run_id:
            self._log.warning("late-message", type=message.type, run_id=run_id)
        elif isinstance(message, protocol.Started):
            life.begun = True
        elif isinstance(message, protocol.Progress):
            progress = events.job_progress(message)
            if progress != life.progress:
                life.progress, life.moved_at = progress, now
                self._events.append(progress)
        elif isinstance(message, events.JOB_ENDS):
            self._end_job(life, message, now)

    def _hear_load(self, life: Life, message: protocol.Message, now: float) -> None:
        if isinstance(message, protocol.Hello):
            if message.protocol != protocol.VERSION:
                what = f"The worker speaks protocol {message.protocol}, the daemon {protocol.VERSION}."
                self._put_down(life, now, errors.WorkerDied(what, "povwatch was changed on disk: restart it."))
        elif isinstance(message, protocol.LoadProgress):
            life.loading = (message.stage, message.fraction)
        elif isinstance(message, protocol.Loaded):
            life.capabilities, life.loaded_at = message.capabilities, now
            self._state, self.last_error = S.READY, None
            self._events.append(events.EngineLoaded(message.capabilities, now - life.started_at))
        elif isinstance(message, protocol.LoadFailed):
            life.leave_at = now + self._limits.leave
            self._back_off(now)
            self._unavailable(message.kind, message.message, message.todo)

    def _end_job(self, life: Life, message: events.JobEnd, now: float) -> None:
        self._events.append(events.job_end(message, life.cancel_why, self._stop_why))
        life.request = life.progress = life.cancel_why = None
        if self._state is S.STOPPING:
            return
        self._state = S.READY
        kind = message.kind if isinstance(message, protocol.Failed) else ""
        if kind not in SPOILING:
            self._failures = 0
            return
        self._log.info("worker-replaced", pid=life.process.pid, why=kind)
        self._back_off(now, at_once=kind != "gpu-lost")
        self._kill(life, now)

    # -- what is overdue -----------------------------------------------------------------------------------------------

    def _enforce(self, now: float) -> None:
        life = self._life
        if life is None:
            return
        late = next((late for at, late in deadlines(life, self._state, self._limits) if now >= at), None)
        if late is Overdue.BURIAL:
            self._give_up(life, now)
        elif late is Overdue.DEPARTURE and self._state in (S.STOPPING, S.BACKOFF):
            self._insist(life, now)
        elif late is not None:
            life.process.signal(signal.SIGUSR1)  # worker.py answers with every thread's stack, for the log
            self._put_down(life, now, loss(late, life, self._limits))

    def _insist(self, life: Life, now: float) -> None:
        """It was to leave."""
        if self._state is S.BACKOFF or life.terminated:
            self._kill(life, now)
        else:
            life.process.signal(signal.SIGTERM)
            life.terminated, life.leave_at = True, now + self._limits.terminate

    def _give_up(self, life: Life, now: float) -> None:
        """It was killed and does not go away."""
        self._log.warning("worker-unkillable", pid=life.process.pid)
        if self._state is S.STOPPING:  # whoever stops the daemon sees to what it leaves
            self._bury(life, None, now)
            return
        life.unkillable = True
        self._retry_at = inf
        self._tell_parting(life)
        what = f"The worker was killed but does not go away (process {life.process.pid})."
        self._unavailable("gpu-lost", what, "It hangs in the kernel, most likely in the GPU's driver: reboot.")

    # -- from one worker to the next -----------------------------------------------------------------------------------

    def _spawn(self, now: float) -> None:
        try:
            process = self._make(self._launch, clock=self._clock, wake=self._wake)
        except OSError as error:
            self._back_off(now)
            what = f"engine.python {self._launch.python!r} cannot be started: {error.strerror}."
            self._unavailable("error", what, "Set engine.python to the interpreter of the engine's environment.")
            return
        self._state = S.LOADING
        self._life = Life(process, started_at=now, heard_at=now)
        process.send(protocol.Load(self._launch.config))  # if it is dead already, its end says so
        self._log.info("worker-started", pid=process.pid, engine=self._launch.engine)

    def _put_down(self, life: Life, now: float, error: events.Loss) -> None:
        """Give a worker up for an error of its own; what that means is told once it is gone."""
        life.parting = self._lose(life, error, now)
        life.leave_at = now + self._limits.stack

    def _kill(self, life: Life, now: float) -> None:
        life.process.kill()
        life.killed_at = now

    def _bury(self, life: Life, returncode: int | None, now: float) -> None:
        """The process is gone; None: it is left to itself."""
        self._log.info("worker-gone", pid=life.process.pid, returncode=returncode)
        self._life = None
        self._tell_parting(life)
        if self._state is S.STOPPING:
            if life.request is not None:
                ids = (life.request.job_id, life.request.run_id)
                self._events.append(events.JobCancelled(*ids, life.cancel_why or self._stop_why))
            self._state = S.STOPPED
        elif self._state is S.BACKOFF:
            self._retry_at = now if life.unkillable else self._retry_at
        elif returncode is not None:
            last = f" It last printed: {life.last_line}" if life.last_line else ""
            self._events += self._lose(life, errors.WorkerDied(f"The worker {ending(returncode)}.{last}"), now)

    def _lose(self, life: Life, error: events.Loss, now: float) -> list[events.Event]:
        """The worker is lost: what there is to tell."""
        if life.loaded_at is not None and now - life.loaded_at >= PROVEN:
            self._failures = 0
        self._back_off(now)
        self.last_error = error
        if life.loaded_at is None:
            return [events.EngineUnavailable("error", error.what, error.todo, self._retry_at)]
        request, life.request, life.progress = life.request, None, None
        without = events.WorkerLost(None, None, error, self._retry_at)
        if request is None:
            return [without]
        if life.cancel_why is not None or not life.begun:
            why = life.cancel_why or "The worker was lost before the job began."
            return [events.JobCancelled(request.job_id, request.run_id, why), without]
        return [events.WorkerLost(request.job_id, request.run_id, error, self._retry_at)]

    def _tell_parting(self, life: Life) -> None:
        self._events += life.parting
        life.parting = []

    def _back_off(self, now: float, *, at_once: bool = False) -> None:
        self._state = S.BACKOFF
        self._failures += not at_once
        self._retry_at = now if at_once else now + backoff(self._failures)

    def _unavailable(self, kind: str, message: str, todo: str) -> None:
        self.last_error = error = events.job_error(kind, message, todo)
        self._events.append(events.EngineUnavailable(kind, error.what, error.todo, self._retry_at))

    def _alive(self) -> Life:
        if self._life is None:
            raise AssertionError(self._state)
        return self._life

    def _require(self, *states: SupervisorState) -> None:
        if self._state not in states:
            raise InvalidState(f"The worker is {self._state}; this needs it {' or '.join(states)}.")
