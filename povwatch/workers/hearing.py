"""What a worker says, and what that makes of its supervisor's state."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from povwatch import errors
from povwatch.workers import events, protocol
from povwatch.workers.process import Exited, HungUp, Item, Printed
from povwatch.workers.states import SupervisorState

if TYPE_CHECKING:
    from povwatch.workers.life import Life
    from povwatch.workers.post import Post

SPOILING = {"out-of-memory", "sticky", "gpu-lost", "shortage"}
"""Failures after which the worker is replaced."""

S = SupervisorState


class Hearing:
    """Listens for a post."""

    def __init__(self, post: Post) -> None:
        self._post = post

    def take_in(self, item: Item, now: float) -> None:
        """One thing that came from the worker: a message, a printed line, or its end."""
        post = self._post
        life = post.life
        if life is None:  # nothing comes after Exited
            return
        if isinstance(item, Printed):
            life.last_line = item.line
            post.events.append(events.EngineOutput(item.line))
        elif isinstance(item, Exited):
            post.bury(life, item.returncode, now)
        elif life.killed_at is not None:
            return
        elif isinstance(item, HungUp):
            life.hung_up, life.leave_at = item.why, min(life.leave_at or inf, now + post.limits.leave)
        else:
            life.heard_at = max(life.heard_at, item.at)
            self._hear(life, item.message, now)

    def _hear(self, life: Life, message: protocol.Message, now: float) -> None:
        post = self._post
        if isinstance(message, protocol.Heartbeat):
            return
        if isinstance(message, (protocol.Hello, protocol.LoadProgress, protocol.Loaded, protocol.LoadFailed)):
            if post.state is S.LOADING:
                self._hear_load(life, message, now)
            return
        request = life.request
        run_id = getattr(message, "run_id", None)
        if request is None or run_id != request.run_id:
            post.log.warning("late-message", type=message.type, run_id=run_id)
        elif isinstance(message, protocol.Started):
            life.begun = True
        elif isinstance(message, protocol.Progress):
            progress = events.job_progress(message)
            if progress != life.progress:
                life.progress, life.moved_at = progress, now
                post.events.append(progress)
        elif isinstance(message, events.JOB_ENDS):
            self._end_job(life, message, now)

    def _hear_load(self, life: Life, message: protocol.Message, now: float) -> None:
        post = self._post
        if isinstance(message, protocol.Hello):
            if message.protocol != protocol.VERSION:
                what = f"The worker speaks protocol {message.protocol}, the daemon {protocol.VERSION}."
                post.put_down(life, now, errors.WorkerDied(what, "povwatch was changed on disk: restart it."))
        elif isinstance(message, protocol.LoadProgress):
            life.loading = (message.stage, message.fraction)
        elif isinstance(message, protocol.Loaded):
            life.capabilities, life.loaded_at = message.capabilities, now
            post.state, post.last_error = S.READY, None
            post.events.append(events.EngineLoaded(message.capabilities, now - life.started_at))
        elif isinstance(message, protocol.LoadFailed):
            life.leave_at = now + post.limits.leave
            post.back_off(now)
            post.unavailable(message.kind, message.message, message.todo)

    def _end_job(self, life: Life, message: events.JobEnd, now: float) -> None:
        post = self._post
        post.events.append(events.job_end(message, life.cancel_why, post.stop_why))
        life.request = life.progress = life.cancel_why = None
        if post.state is S.STOPPING:
            return
        post.state = S.READY
        kind = message.kind if isinstance(message, protocol.Failed) else ""
        if kind not in SPOILING:
            post.failures = 0
            return
        post.log.info("worker-replaced", pid=life.process.pid, why=kind)
        post.back_off(now, at_once=kind != "gpu-lost")
        post.kill(life, now)
