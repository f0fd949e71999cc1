"""The end of --once: the outcome of every clip, and the exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.events import say
from povwatch.core.job import Job, JobState

if TYPE_CHECKING:
    from collections.abc import Sequence

DONE, NOT_DONE, NOT_ABLE = 0, 1, 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of everything when a daemon ends."""

    jobs: Sequence[Job]
    """The newest job of every clip that is in inputs/, or that ended in this run."""
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
    stopped: bool = False
    """Whether somebody stopped it before all was done."""

    @property
    def before(self) -> Sequence[Job]:
        """The jobs that were done before this run."""
        return [job for job in self.jobs if job.state is JobState.DONE and job.id not in self.ended]


def summarise(outcome: Outcome, *, each: bool = True) -> int:
    """Log the outcome, and return the exit code. `each`: with a line for each clip."""
    counts = {state: sum(job.state is state for job in outcome.jobs) for state in JobState}
    for job in outcome.jobs if each else ():
        say("summary", job, text=f"{layout.shown(job.path)}: {_fate(job)}")
    done = counts[JobState.DONE]
    gone = counts[JobState.CANCELLED]
    open_ = len(outcome.jobs) - done - gone
    text = f"{done} done, {open_} not done" + (f", {gone} cancelled" if gone else "")
    if outcome.left:
        which = ", ".join(map(layout.shown, outcome.left[:5])) + (", ..." if len(outcome.left) > 5 else "")  # noqa: PLR2004
        text += f"; {len(outcome.left)} left as they are, not started, as they were not named: {which}"
    if outcome.away:
        text += f". {outcome.away}"
    if outcome.closed:
        text += f". {outcome.closed}"
    if outcome.unable:
        text += f". {outcome.unable}"
    say("summary", text=text)
    if outcome.unable:
        return NOT_ABLE
    hooks_failed = any(job.state is JobState.DONE and job.error for job in outcome.jobs)
    return NOT_DONE if open_ or outcome.away or hooks_failed else DONE


def _fate(job: Job) -> str:
    if job.state is JobState.DONE:
        return f"done, {job.output}{f'. {job.error}' if job.error else ''}"
    if job.ended:
        return f"{job.state}: {job.error or job.detail}"
    why = f": {job.detail}" if job.detail else ""
    return f"{job.state}, waits on {job.waiting_on}{why}" if job.waiting_on else str(job.state)
