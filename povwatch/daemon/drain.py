"""The end of --once: when nothing can go on without somebody's help, the outcome of every clip, and the exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.events import say
from povwatch.core.job import CLAIMED, WAITING, Job, JobState, Waiting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.daemon.app import App

DONE, NOT_DONE, NOT_ABLE = 0, 1, 3

STUCK = frozenset({Waiting.HELD, Waiting.INVALID_SPEC, Waiting.INCOMPLETE, Waiting.INPUTS_AWAY, Waiting.INPUTS_REFUSED})
"""Waits that --once does not wait for: somebody has to do something first."""

SHOWN_MAX = 5
"""Paths that one sentence names."""

NOT_INSPECTED = frozenset({Waiting.PAUSED, Waiting.DISK_FULL})
"""Waits of an arriving clip that the machine prevents from being inspected. In its grace: the clip's JSON has no space,
or names a file that cannot be measured.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of everything when a daemon ends."""

    jobs: Sequence[Job]
    """The newest job of every look of each clip that is in inputs/, or that ended in this run."""
    unable: str | None = None
    """What this machine cannot do, if clips still wait for it, as sentences."""
    away: str | None = None
    """Why inputs/ could not be watched, if it could not."""
    closed: str | None = None
    """Why people want no clip started now, if clips wait for that."""
    ended: frozenset[int] = frozenset()
    """The jobs that ended in this run."""
    left: Sequence[bytes] = ()
    """Clips that are there and not done, but outside the scope."""
    limited: str | None = None
    """Which looks are left, as their clips have as many as they may, as a sentence."""
    stopped: bool = False
    """Whether somebody stopped it before all was done."""

    @property
    def before(self) -> Sequence[Job]:
        """The jobs that were done before this run."""
        return [job for job in self.jobs if job.state is JobState.DONE and job.id not in self.ended]


def is_drained(app: App) -> bool:
    """Whether nothing can go on by itself."""
    if app.root.away is not None:
        return True
    at_work = app.arrival.moving or not all(work.idle for work in (app.background, app.inspections, app.hooks))
    if app.folder_monitor.scanned_at is None or at_work:
        return False
    if not all(_is_stuck(app, job) for job in app.store.in_state(*WAITING, *CLAIMED)):
        return False
    if app.folder_monitor.hurry():  # a clip may have been replaced, or a JSON edited, while the last job ran
        return False
    return app.page is None or app.page.idle


def _is_stuck(app: App, job: Job) -> bool:
    """Whether a job does not go on by itself."""
    if job.waiting_on in STUCK or app.hooks.stuck(job):
        return True
    if job.path not in app.store.scope and job.state not in CLAIMED:
        return True
    if job.state is JobState.QUEUED:
        return app.blockers.given_up(app.config.engine.attempts)
    if job.state is JobState.GRACE:
        return job.waiting_on in NOT_INSPECTED
    # The machine does not allow the step now; the next start tries it again. A hook goes on by itself.
    steps = {JobState.CHECKING, JobState.PUBLISHING}
    return job.state in steps and job.waiting_on not in {None, Waiting.HOOK, Waiting.RETRY_AT}


def outcome(app: App, *, stopped: bool) -> Outcome:
    """The outcome of every clip that exists and is in the scope, or that ended in this run."""
    store, clips = app.store, app.folder_monitor.clips()
    here = {path for path in clips if path in store.scope} | {job.path for job in store.ended.values()}
    jobs = [job for path in sorted(here) for job in store.all_looks(path)]
    others = [path for path in sorted(clips) if path not in store.scope]
    left = [path for path in others if (known := store.known.get(path)) is None or not known.state.ended]
    waiting = any(job.state is JobState.QUEUED and job.waiting_on not in STUCK for job in jobs)
    blocker = app.blockers.generating() if waiting else None
    unable = closed = None
    if blocker is not None and blocker.asked:
        closed = blocker.problem
    elif blocker is not None:
        engine = blocker.waiting is Waiting.ENGINE_UNAVAILABLE
        unable = f"The engine is not available: {blocker.problem}" if engine else blocker.problem
    if unable is None:  # if no clip can be inspected, one of them has the reason
        early = (job for job in jobs if job.state in {JobState.ARRIVING, JobState.GRACE})
        unable = next((job.detail for job in early if job.waiting_on in NOT_INSPECTED), None)
    ended = frozenset(store.ended)
    return Outcome(jobs, unable, app.root.away, closed, ended, left, limited(app), stopped)


def limited(app: App) -> str | None:
    """Which looks wait since their clips have as many as they may."""
    specs = [spec for _, of_clip in sorted(app.folder_monitor.looks.over.items()) for spec in of_clip]
    if not specs:
        return None
    are = "1 look is" if len(specs) == 1 else f"{len(specs)} looks are"
    most = app.config.spec.variants_max
    return f"{are} left, not started, as spec.variants_max is {most}: {_first(specs)}"


def _first(paths: Sequence[bytes]) -> str:
    return ", ".join(map(layout.shown, paths[:SHOWN_MAX])) + (", ..." if len(paths) > SHOWN_MAX else "")


def summarise(outcome: Outcome, *, each: bool = True) -> int:
    """Log the outcome, and return the exit code. `each`: with a line for each clip."""
    counts = {state: sum(job.state is state for job in outcome.jobs) for state in JobState}
    for job in outcome.jobs if each else ():
        say("summary", job, text=f"{layout.shown(job.called)}: {_fate(job)}")
    done = counts[JobState.DONE]
    gone = counts[JobState.CANCELLED]
    open_ = len(outcome.jobs) - done - gone
    text = f"{done} done, {open_} not done" + (f", {gone} cancelled" if gone else "")
    if outcome.left:
        text += f"; {len(outcome.left)} left as they are, not started, as they were not named: {_first(outcome.left)}"
    why = (outcome.limited, outcome.away, outcome.closed, outcome.unable)
    say("summary", text=". ".join([text, *filter(None, why)]))
    if outcome.unable:
        return NOT_ABLE
    hooks_failed = any(job.state is JobState.DONE and job.error for job in outcome.jobs)
    return NOT_DONE if open_ or outcome.limited or outcome.away or hooks_failed else DONE


def _fate(job: Job) -> str:
    if job.state is JobState.DONE:
        return f"done, {job.output}{f'. {job.error}' if job.error else ''}"
    if job.ended:
        return f"{job.state}: {job.error or job.detail}"
    why = f": {job.detail}" if job.detail else ""
    return f"{job.state}, waits on {job.waiting_on}{why}" if job.waiting_on else str(job.state)
