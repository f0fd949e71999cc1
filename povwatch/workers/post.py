"""The post that one worker after another fills: who is there, how each comes, and how each goes."""

from __future__ import annotations

import signal
from math import inf
from typing import TYPE_CHECKING

from povwatch import errors, machine_faults
from povwatch.process.ending import describe_end
from povwatch.retry import backoff
from povwatch.workers import events, protocol
from povwatch.workers.life import Life, Process
from povwatch.workers.states import Limits, Log, SupervisorState

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.workers.process import Launch

PROVEN = 60.0
"""A worker that ran for so many seconds after its load shows that the pauses may begin anew."""

S = SupervisorState


class Post:
    """What a supervisor keeps, and the ways from one worker to the next. supervisor.py opens with the states."""

    def __init__(self, launch: Launch, limits: Limits, log: Log, spawn: Callable[[], Process]) -> None:
        """Nobody is there, and nobody is wanted.

        Args:
            launch: how a worker is started.
            limits: how long it gets for what.
            log: where it says who comes and goes.
            spawn: starts a process; OSError where that cannot be.
        """
        self.launch = launch
        self.limits = limits
        self.log = log
        self._make = spawn
        self.state = S.STOPPED
        self.life: Life | None = None
        """The worker who is there; None between two."""
        self.failures = 0
        """How often in a row a worker could not be loaded, or was lost."""
        self.retry_at = 0.0
        """When the next one comes, in BACKOFF."""
        self.stop_why = ""
        self.events: list[events.Event] = []
        """What there is to tell."""
        self.last_error: errors.PovwatchError | None = None
        """Why the engine is not available; None once it is loaded."""

    def fill(self, now: float) -> None:
        """Start a worker. One that cannot be started is tried again after a pause."""
        try:
            process = self._make()
        except OSError as error:
            self.back_off(now)
            if known := machine_faults.blamed(error, machine_faults.Place.PROCESS, "the worker"):
                self.unavailable("shortage", known.what, known.todo)
                return
            what = f"engine.python {self.launch.python!r} cannot be started: {error.strerror}."
            self.unavailable("error", what, "Set engine.python to the interpreter of the engine's environment.")
            return
        self.state = S.LOADING
        self.life = Life(process, started_at=now, heard_at=now)
        process.send(protocol.Load(self.launch.config))  # if it is dead already, its end says so
        self.log.info("worker-started", pid=process.pid, engine=self.launch.engine)

    def put_down(self, life: Life, now: float, error: events.Loss) -> None:
        """Give a worker up for an error of its own; what that means is told once it is gone."""
        life.parting = self._lose(life, error, now)
        life.leave_at = now + self.limits.stack

    def kill(self, life: Life, now: float) -> None:
        """End it now; `bury` follows when it is gone."""
        life.process.kill()
        life.killed_at = now

    def insist(self, life: Life, now: float) -> None:
        """It was to leave and did not."""
        if self.state is S.BACKOFF or life.terminated:
            self.kill(life, now)
        else:
            life.process.signal(signal.SIGTERM)
            life.terminated, life.leave_at = True, now + self.limits.terminate

    def give_up(self, life: Life, now: float) -> None:
        """It was killed and does not go away."""
        self.log.warning("worker-unkillable", pid=life.process.pid)
        if self.state is S.STOPPING:  # whoever stops the daemon sees to what it leaves
            self.bury(life, None, now)
            return
        life.unkillable = True
        self.retry_at = inf
        self._tell_parting(life)
        what = f"The worker was killed but does not go away (process {life.process.pid})."
        self.unavailable("gpu-lost", what, "It hangs in the kernel, most likely in the GPU's driver: reboot.")

    def bury(self, life: Life, returncode: int | None, now: float) -> None:
        """The process is gone; None: it is left to itself."""
        self.log.info("worker-gone", pid=life.process.pid, returncode=returncode)
        self.life = None
        self._tell_parting(life)
        if self.state is S.STOPPING:
            if life.request is not None:
                ids = (life.request.job_id, life.request.run_id)
                self.events.append(events.JobCancelled(*ids, life.cancel_why or self.stop_why))
            self.state = S.STOPPED
        elif self.state is S.BACKOFF:
            self.retry_at = now if life.unkillable else self.retry_at
        elif returncode is not None:
            last = f" It last printed: {life.last_line}" if life.last_line else ""
            self.events += self._lose(life, errors.WorkerDied(f"The worker {describe_end(returncode)}.{last}"), now)

    def back_off(self, now: float, *, at_once: bool = False) -> None:
        """Another worker comes after a pause, or at once, which is no failure."""
        self.state = S.BACKOFF
        self.failures += not at_once
        self.retry_at = now if at_once else now + backoff(self.failures)

    def unavailable(self, kind: str, message: str, todo: str) -> None:
        """Tell why the engine cannot be used."""
        self.last_error = error = events.job_error(kind, message, todo)
        self.events.append(events.EngineUnavailable(kind, error.what, error.todo, self.retry_at))

    # -- helpers

    def _lose(self, life: Life, error: events.Loss, now: float) -> list[events.Event]:
        """The worker is lost: what there is to tell."""
        if life.loaded_at is not None and now - life.loaded_at >= PROVEN:
            self.failures = 0
        self.back_off(now)
        self.last_error = error
        if life.loaded_at is None:
            return [events.EngineUnavailable(events.kind_of(error), error.what, error.todo, self.retry_at)]
        request, life.request, life.progress = life.request, None, None
        without = events.WorkerLost(None, None, error, self.retry_at)
        if request is None:
            return [without]
        if life.cancel_why is not None or not life.begun:
            why = life.cancel_why or "The worker was lost before the job began."
            return [events.JobCancelled(request.job_id, request.run_id, why), without]
        return [events.WorkerLost(request.job_id, request.run_id, error, self.retry_at)]

    def _tell_parting(self, life: Life) -> None:
        self.events += life.parting
        life.parting = []
