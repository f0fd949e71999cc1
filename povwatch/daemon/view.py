"""The progress of everything, for a display while --once drains the folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core.job import WAITING, Job, JobState
from povwatch.core.layout import shown
from povwatch.engines import eta

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.daemon.app import App
    from povwatch.workers.pool import ActiveAttempt

WEIGHTS = {"copying": 0.05, "generating": 0.85, "finishing": 0.04, "checking": 0.03, "scoring": 0.03}
"""Each stage's share of a clip's bar. Real engines spend nearly all of the time generating."""

AHEAD_MAX = 200
"""With more jobs than this, the remaining time is not estimated."""


@dataclass(frozen=True, slots=True)
class ClipView:
    """One clip under way."""

    clip: str
    stage: str
    """A key of WEIGHTS, or `publishing`; before generating also a control that is made: `computing depth`."""
    fraction: float
    """Progress of the stage, 0 to 1."""
    detail: str = ""
    """The engine's own stage."""
    left: float | None = None
    """Seconds until it is generated."""

    @property
    def whole(self) -> float:
        """Progress of the clip, 0 to 1."""
        if self.stage not in WEIGHTS:
            return 1.0 if self.stage == "publishing" else WEIGHTS["copying"]
        before = 0.0
        for stage, weight in WEIGHTS.items():
            if stage == self.stage:
                return before + weight * self.fraction
            before += weight
        return 1.0


@dataclass(frozen=True, slots=True)
class View:
    """All clips."""

    done: int
    ended_otherwise: int
    """Clips that ended in any other way in this run."""
    waiting: int
    """Clips in the queue or in their grace."""
    arriving: int
    running: Sequence[ClipView]
    left: float | None = None
    """Seconds until the last clip is generated; None if unknown."""
    loading: str = ""
    """The stages of engines that still load."""
    problem: str = ""
    """What blocks everything."""

    @property
    def total(self) -> int:
        """Clips of this run so far."""
        return self.done + self.ended_otherwise + self.waiting + self.arriving + len(self.running)

    @property
    def whole(self) -> float:
        """Progress of all clips, in clips."""
        return self.done + self.ended_otherwise + sum(clip.whole for clip in self.running)


def view(app: App, now: float) -> View:
    """The view at this time of the boot clock."""
    store = app.store
    ended = [job.state for job in store.ended.values()]
    done = sum(state is JobState.DONE for state in ended)
    at_work = [worker.active for worker in app.pool.workers if worker.active is not None]
    waiting = [job for job in store.in_state(*WAITING) if job.path in store.scope]
    blocker = app.blockers.generating()
    loading = {worker.supervisor.loading for worker in app.pool.workers if not worker.supervisor.capabilities}
    generated = store.in_state(JobState.CHECKING, JobState.PUBLISHING)
    return View(
        done=done,
        ended_otherwise=len(ended) - done,
        waiting=len(waiting),
        arriving=app.arrival.on_the_way,
        running=[*(_of_active(app, active) for active in at_work), *(_of_job(app, job) for job in generated)],
        left=_left(app, now, at_work, waiting),
        loading=", ".join(sorted(stage for stage, _ in filter(None, loading))),
        problem=blocker.problem if blocker else "",
    )


def _of_active(app: App, active: ActiveAttempt) -> ClipView:
    clip = shown(app.store.job(active.job).called)
    if active.generating_since is None:
        return ClipView(clip, active.making.what, active.making.fraction)
    if active.progress is None:
        return ClipView(clip, "generating", 0.0, left=active.expected)
    progress = active.progress
    detail = progress.stage
    if progress.chunks > 1:
        detail += f", chunk {min(progress.chunk + 1, progress.chunks)} of {progress.chunks}"
    if progress.steps > 1:
        detail += f", step {progress.step} of {progress.steps}"
    return ClipView(clip, "generating", progress.fraction, detail, active.left)


def _of_job(app: App, job: Job) -> ClipView:
    if job.state is JobState.PUBLISHING:
        return ClipView(shown(job.called), "publishing", 0.0)
    return ClipView(shown(job.called), *app.results.progress(job))


def _left(app: App, now: float, at_work: Sequence[ActiveAttempt], waiting: Sequence[Job]) -> float | None:
    if len(waiting) > AHEAD_MAX or not app.pool.workers or not (at_work or waiting):
        return None
    left = {active.job: active.expected if active.left is None else active.left for active in at_work}
    busy = [left[worker.active.job] if worker.active else 0.0 for worker in app.pool.workers]
    gpu = app.pool.gpu_name(app.pool.workers[0])
    takes = [_expected(app, job, gpu) for job in waiting]
    ends = [end for _, end in eta.forecast(busy, takes)] + list(left.values())
    graces = [at - now for job in waiting if (at := app.grace.grace_ends_at(job)) is not None]
    known = [end for end in ends if end is not None]
    return max([*known, *graces]) if len(known) == len(ends) else None


def _expected(app: App, job: Job, gpu: str) -> float | None:
    spec = app.grace.latest_spec(job)
    info = json.loads(job.source_info or "{}")
    speed = (spec and spec.povwatch.speed) or app.config.engine.speed
    return app.run.estimates.expected(info, spec.upstream() if spec else {}, gpu, speed)
