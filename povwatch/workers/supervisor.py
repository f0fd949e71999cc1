"""The parent of a worker: starts it, watches its deadlines, replaces it, ends it.

    STOPPED   start -> LOADING, or BACKOFF where the GPU has no room yet
    LOADING   loaded -> READY       failed, dead, overdue -> BACKOFF              stop -> STOPPING
    READY     generate -> BUSY      dead, silent -> BACKOFF                       stop -> STOPPING
    BUSY      the job's end -> READY, or BACKOFF where it spoilt the worker;
              dead, silent, stalled, replaced -> BACKOFF                          stop -> STOPPING
    BACKOFF   the worker gone, the pause over, room on the GPU -> LOADING         stop -> STOPPING, or STOPPED
    STOPPING  the worker gone -> STOPPED

hearing.py knows what a worker's words mean for it, post.py how one worker follows another.
A call that the state does not allow raises InvalidState and changes nothing.
Nothing here waits but `close`: the daemon's loop calls `poll` when it is woken and at `next_deadline`, and acts
on the events. All methods are for that one thread, which must outlive the workers: the kernel ends them with it.
"""

from __future__ import annotations

import signal
from math import inf
from typing import TYPE_CHECKING, Any

from povwatch.workers import events, protocol
from povwatch.workers.deadlines import Overdue, deadlines, loss
from povwatch.workers.hearing import Hearing
from povwatch.workers.post import Post
from povwatch.workers.process import Launch, WorkerProcess
from povwatch.workers.states import InvalidState, Limits, Log, SupervisorState

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch import errors
    from povwatch.workers.life import Life, Process

WATCH = 5.0
"""Seconds between two polls, at most, while there is a worker."""

ASLEEP = 15.0
"""After a longer time without a poll the machine slept, or the daemon was stopped: no fault of the worker."""

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
        clear: Callable[[float], bool] = lambda _: True,
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
            clear: Whether a worker may be started now, on the clock of `poll`: a GPU may have no room for it. Asked
                again and again until it is so.

        Raises:
            ProtocolError: The engine's configuration is not made of JSON values.
        """
        protocol.encode(protocol.Load(launch.config), 1)
        limits = Limits(load_timeout, stall_timeout, heartbeat_timeout, stop_timeout, cancel_timeout)
        self._post = Post(launch, limits, log, lambda: spawn(launch, clock=clock, wake=wake))
        self._hearing = Hearing(self._post)
        self._clock = clock
        self._clear = clear
        self._polled_at = 0.0

    # -- what the daemon does ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a worker. EngineLoaded or EngineUnavailable follows; in the latter case it is tried again."""
        post = self._post
        self._require(S.STOPPED)
        post.failures = 0
        self._polled_at = self._clock()
        if self._clear(self._polled_at):
            post.fill(self._polled_at)
        else:
            post.back_off(self._polled_at, at_once=True)

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
        self._post.state = S.BUSY
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

    def replace(self, error: errors.Transient) -> None:
        """End the worker here and now for a fault that it does not know of itself, its GPU's; another one follows.

        WorkerLost follows with this error once the worker is gone, EngineUnavailable if it was loading. Nothing happens
        where there is no worker, or the one that is there is on its way out already.
        """
        post = self._post
        if post.state not in (S.LOADING, S.READY, S.BUSY):
            return
        life, now = self._alive(), self._clock()
        post.put_down(life, now, error)
        post.kill(life, now)

    def stop(self, why: str) -> None:
        """End the worker: it is told, then terminated after `stop_timeout`, then killed. Go on polling until STOPPED.

        A job under way ends with JobCancelled, or with JobGenerated if it was done just then.
        """
        post = self._post
        self._require(S.LOADING, S.READY, S.BUSY, S.BACKOFF)
        post.stop_why = why
        if post.life is None:
            post.state = S.STOPPED
            return
        post.state = S.STOPPING
        now = self._clock()
        if post.life.killed_at is not None:
            post.life.killed_at = now
        else:
            told = post.life.process.send(protocol.Shutdown())
            post.life.leave_at = min(post.life.leave_at or inf, now + post.limits.stop if told else now)

    def close(self) -> None:
        """End the worker here and now, in any state, without a further event. Waits 2 s for its end at most."""
        post = self._post
        life, post.life, post.state = post.life, None, S.STOPPED
        if life is not None:
            life.process.kill()
            if not life.process.join(2.0):
                post.log.warning("worker-unkillable", pid=life.process.pid)

    def poll(self, now: float) -> list[events.Event]:
        """Take in what happened, act on what is overdue, and tell. Never waits."""
        post = self._post
        if post.life is not None:
            if now - self._polled_at > ASLEEP:
                post.log.info("slept", seconds=round(now - self._polled_at, 1))
                post.life.shift(now - self._polled_at)
            for item in post.life.process.take():
                self._hearing.take_in(item, now)
            self._enforce(now)
        self._polled_at = now
        if post.state is S.BACKOFF and post.life is None and now >= post.retry_at and self._clear(now):
            post.fill(now)
        told, post.events = post.events, []
        return told

    def next_deadline(self) -> float | None:
        """When `poll` is due if nothing wakes it before; None: not at all."""
        post = self._post
        if post.events:
            return self._polled_at
        if post.life is not None:
            return min([self._polled_at + WATCH, *(at for at, _ in deadlines(post.life, post.state, post.limits))])
        if post.state is not S.BACKOFF:
            return None
        return post.retry_at if post.retry_at > self._polled_at else self._polled_at + WATCH

    # -- what can be seen ----------------------------------------------------------------------------------------------

    @property
    def state(self) -> SupervisorState:
        """Where it stands."""
        return self._post.state

    @property
    def capabilities(self) -> dict[str, Any] | None:
        """What the engine said about itself; None while it is not loaded."""
        post = self._post
        return post.life.capabilities if post.life is not None and post.state in (S.READY, S.BUSY) else None

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        post = self._post
        return post.life.process.pid if post.life is not None else None

    @property
    def progress(self) -> events.JobProgress | None:
        """How far the job at hand is."""
        post = self._post
        return post.life.progress if post.life is not None else None

    @property
    def loading(self) -> tuple[str, float | None] | None:
        """Stage of the load under way, and its fraction where that is known."""
        post = self._post
        return post.life.loading if post.life is not None and post.state is S.LOADING else None

    @property
    def loaded_at(self) -> float | None:
        """When the engine was loaded."""
        post = self._post
        return post.life.loaded_at if post.life is not None else None

    @property
    def retry_at(self) -> float | None:
        """When the next worker is started."""
        post = self._post
        return post.retry_at if post.state is S.BACKOFF else None

    @property
    def failures(self) -> int:
        """How often in a row a worker could not be loaded, or was lost."""
        return self._post.failures

    @property
    def last_error(self) -> errors.PovwatchError | None:
        """Why the engine is not available; None once it is loaded."""
        return self._post.last_error

    # -- helpers -------------------------------------------------------------------------------------------------------

    def _enforce(self, now: float) -> None:
        post = self._post
        life = post.life
        if life is None:
            return
        late = next((late for at, late in deadlines(life, post.state, post.limits) if now >= at), None)
        if late is Overdue.BURIAL:
            post.give_up(life, now)
        elif late is Overdue.DEPARTURE and post.state in (S.STOPPING, S.BACKOFF):
            post.insist(life, now)
        elif late is not None:
            life.process.signal(signal.SIGUSR1)  # worker.py answers with every thread's stack, for the log
            post.put_down(life, now, loss(late, life, post.limits))

    def _alive(self) -> Life:
        post = self._post
        if post.life is None:
            raise AssertionError(post.state)
        return post.life

    def _require(self, *states: SupervisorState) -> None:
        post = self._post
        if post.state not in states:
            raise InvalidState(f"The worker is {post.state}; this needs it {' or '.join(states)}.")
