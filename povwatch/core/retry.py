"""Decides whether a failed attempt is retried, released or ends the job. Pure: it returns a decision.

1. A permanent error ends the job: rejected, blocked or failed, by the error's type.
2. A fault of the environment or of the JSON releases the job: the attempt is given back, and the job waits until the
   cause is gone. machine_faults.py has the faults of the file system, memory and processes.
3. Every other error is charged: another attempt after a pause of 2, 4, 8 ... 60 s, until `limit` attempts are used up.
4. Out of memory gets one more attempt, on a fresh worker: a job that does not fit twice does not fit.
5. A failure to finish never causes generation again. Only finishing is tried again, after the same pauses and as often
   as there are attempts; then the job fails, and the artifact is kept.
6. Crashes of the daemon or the machine while a job runs are counted apart. The third one fails the job. A seed whose
   result was judged proves that the job is not their cause: the count for the next seed begins at 0.
7. A job's worker that dies on another machine, alone or with the machine, counts as a crash: either may be to blame.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from povwatch.core import errors, machine_faults
from povwatch.core.job import Waiting
from povwatch.core.sentences import joined

BACKOFF_MAX = 60.0
"""Seconds of the longest pause."""

CLOCK_MARGIN = 5.0
"""Seconds by which a clock may be corrected before a job's pause is shortened."""

ENVIRONMENT_PAUSE = 30.0
"""Seconds until a fault of the environment is checked again."""

CRASHES_MAX = 3
"""A job that was running at so many crashes is taken for their cause."""

OUT_OF_MEMORY_MAX = 2
"""Attempts of a job that runs out of memory, however many are allowed."""

FAULTS_PATIENCE = 3
"""After so many machine faults while inspecting a clip, --once no longer waits for it."""


class Action(StrEnum):
    """What to do with the job."""

    RETRY = "retry"
    """It goes back to the queue for another attempt at `at`."""
    RELEASE = "release"
    """It waits again; the attempt is given back."""
    FAIL = "fail"
    """It ends: `failed`."""
    BLOCK = "block"
    """It ends: `blocked`."""
    REJECT = "reject"
    """It ends: `rejected`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, when, and why."""

    action: Action
    at: float
    """No earlier than this time, on the clock of `now`. For an end, `now`."""
    waiting: Waiting | None
    """What the job waits on; None for an end."""
    reason: str
    """One sentence for people."""


def decide(error: errors.PovwatchError, *, attempts: int, limit: int, now: float) -> Decision:
    """Decide about a job after an error.

    Args:
        attempts: attempts charged so far, this one included.
        limit: attempts that a job may have (`engine.attempts`).
        now: seconds, on any clock.
    """
    for cause, (waiting, pause) in _RELEASES.items():
        if isinstance(error, cause):
            return Decision(Action.RELEASE, now + pause, waiting=waiting, reason=str(error))
    for cause, ending in _ENDS.items():
        if isinstance(error, cause):
            return Decision(ending, now, waiting=None, reason=str(error))
    if isinstance(error, errors.OutOfMemory):
        limit = min(limit, OUT_OF_MEMORY_MAX)
    if attempts >= limit:
        reason = joined(str(error), f"Given up after {_times(attempts, 'attempt')}.")
        return Decision(Action.FAIL, now, waiting=None, reason=reason)
    reason = joined(str(error), f"Attempt {attempts} of {limit}.")
    return Decision(Action.RETRY, now + backoff(attempts), waiting=Waiting.RETRY_AT, reason=reason)


def finish_again(error: errors.PovwatchError, *, failures: int, limit: int, now: float) -> Decision:
    """Decide about a job whose artifact could not be finished. The artifact is kept: nothing is generated again.

    Args:
        failures: failures in a row, this one included.
        limit: tries that a job may have (`engine.attempts`).
        now: seconds, on any clock.
    """
    if failures >= limit:
        reason = joined(error.what, f"Given up after {_times(failures, 'try')}.")
        return Decision(Action.FAIL, now, waiting=None, reason=reason)
    return Decision(Action.RETRY, now + backoff(failures), waiting=Waiting.RETRY_AT, reason=str(error))


def after_crash(crashes: int, now: float) -> Decision:
    """Decide about an orphaned job, which was running when the daemon or the machine went down.

    Args:
        crashes: how often that was held against this job, this time included if it is.
        now: seconds, on any clock.
    """
    often = _times(crashes, "time")
    if crashes >= CRASHES_MAX:
        reason = f"The daemon or the machine went down {often} while this job ran. It may be the cause."
        return Decision(Action.FAIL, now, waiting=None, reason=reason)
    counted = f" ({often})" if crashes else ""
    reason = f"The daemon or the machine went down while this job ran{counted}."
    return Decision(Action.RETRY, now + backoff(crashes), waiting=Waiting.RETRY_AT, reason=reason)


def after_loss(error: errors.RemoteWorkerDied, crashes: int, now: float) -> Decision:
    """Decide about a job whose worker died on another machine, or with that machine.

    Args:
        crashes: how often that, or a crash, was held against this job, this time included.
        now: seconds, on any clock.
    """
    if crashes >= CRASHES_MAX:
        reason = f"It was under way {_times(crashes, 'time')} when its worker was lost, and may be the cause."
        return Decision(Action.FAIL, now, waiting=None, reason=reason)
    reason = joined(str(error), f"That counts as a crash, {crashes} of {CRASHES_MAX}.")
    return Decision(Action.RETRY, now + backoff(crashes), waiting=Waiting.RETRY_AT, reason=reason)


def clamped(not_before: float, now: float) -> float:
    """The time of the next attempt, from a recorded time of the wall clock. All are in seconds on that clock.

    No pause is longer than BACKOFF_MAX, so a later time was recorded before the clock was set back.
    """
    return not_before if not_before <= now + BACKOFF_MAX + CLOCK_MARGIN else now + BACKOFF_MAX


def waiting_for(error: errors.EnvironmentFault) -> Waiting:
    """What a job waits on after an error of the environment."""
    return next(waiting for cause, (waiting, _) in _RELEASES.items() if isinstance(error, cause))


def backoff(times: int) -> float:
    """Seconds to wait after so many failures in a row: 2, 4, 8 ... 60."""
    return min(BACKOFF_MAX, 2.0 ** min(max(times, 1), 10))


_ENDS: dict[type[errors.PovwatchError], Action] = {
    errors.NotAVideo: Action.REJECT,
    errors.Blocked: Action.BLOCK,
    errors.Permanent: Action.FAIL,
}

_RELEASES: dict[type[errors.PovwatchError], tuple[Waiting, float]] = {
    **{
        row.error: (Waiting(row.on), machine_faults.UNTIL[row.error].first)
        for row in machine_faults.TABLE.values()
        if row.on and row.error is not errors.SourceChanged
    },
    errors.GpuBusy: (Waiting.GPU_BUSY, ENVIRONMENT_PAUSE),
    errors.GpuLost: (Waiting.GPU_LOST, ENVIRONMENT_PAUSE),
    errors.SourceChanged: (Waiting.SETTLING, 0.0),
    errors.SpecInvalid: (Waiting.INVALID_SPEC, 0.0),
    # All other faults of the environment.
    errors.EnvironmentFault: (Waiting.PAUSED, ENVIRONMENT_PAUSE),
    errors.MachineError: (Waiting.ENGINE_UNAVAILABLE, ENVIRONMENT_PAUSE),
}


def _times(count: int, noun: str) -> str:
    many = "tries" if noun == "try" else f"{noun}s"
    return f"{count} {noun}" if count == 1 else f"{count} {many}"
