"""What becomes of a job whose attempt ended in an error. Pure: a decision is returned, nothing is done.

1. A permanent error ends the job: rejected, blocked or failed, by the error's type.
2. A fault of the environment or of the JSON releases it: the attempt is given back, and it waits for the cause to go.
   What the machine's file system, memory and processes may refuse is in machine_faults.py.
3. Everything else is charged: another attempt after a pause of 2, 4, 8 ... 60 s, until `limit` attempts are used up.
4. Out of memory is tried once more, on a fresh worker; what does not fit twice does not fit.
5. What was generated is never generated again because finishing it fails: finishing alone is tried again, after the
   same pauses and as often as there are attempts; then the job fails, and the artifact is kept.
6. A job that was running when the daemon or the machine went down is counted apart, and fails at the third time.
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
"""Seconds by which a clock may be corrected without a job's pause being looked at."""

ENVIRONMENT_PAUSE = 30.0
"""Seconds until a fault of the environment is looked at again."""

CRASHES_MAX = 3
"""A job that was running at so many crashes is taken for their cause."""

OUT_OF_MEMORY_MAX = 2
"""Attempts, however many are allowed, of a job that runs out of memory."""

FAULTS_PATIENCE = 3
"""So many times must the machine fail to inspect a clip before --once waits for it no longer."""


class Kind(StrEnum):
    """What to do with the job."""

    RETRY = "retry"
    """Back to the queue for another attempt at `at`."""
    RELEASE = "release"
    """Back to where it waits; the attempt is given back."""
    FAIL = "fail"
    """End: `failed`."""
    BLOCK = "block"
    """End: `blocked`."""
    REJECT = "reject"
    """End: `rejected`."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do, when, and why."""

    kind: Kind
    at: float
    """Not before this time, on the clock of `now`; for an end, now."""
    waiting: Waiting | None
    """What the job waits on; None for an end."""
    reason: str
    """One sentence for people."""


def decide(error: errors.PovwatchError, *, attempts: int, limit: int, now: float) -> Decision:
    """What becomes of a job after an error.

    Args:
        error: What the attempt ended with.
        attempts: Attempts charged so far, this one included.
        limit: Attempts that a job has (`engine.attempts`).
        now: Seconds, on any clock.
    """
    for cause, (waiting, pause) in _RELEASES.items():
        if isinstance(error, cause):
            return Decision(Kind.RELEASE, now + pause, waiting=waiting, reason=str(error))
    for cause, ending in _ENDS.items():
        if isinstance(error, cause):
            return Decision(ending, now, waiting=None, reason=str(error))
    if isinstance(error, errors.OutOfMemory):
        limit = min(limit, OUT_OF_MEMORY_MAX)
    if attempts >= limit:
        reason = joined(str(error), f"Given up after {_times(attempts, 'attempt')}.")
        return Decision(Kind.FAIL, now, waiting=None, reason=reason)
    reason = joined(str(error), f"Attempt {attempts} of {limit}.")
    return Decision(Kind.RETRY, now + backoff(attempts), waiting=Waiting.RETRY_AT, reason=reason)


def finish_again(error: errors.PovwatchError, *, failures: int, limit: int, now: float) -> Decision:
    """What becomes of a job whose artifact could not be finished. It is kept: nothing is generated again.

    Args:
        error: What finishing ended with.
        failures: How often in a row it failed, this time included.
        limit: How often it is tried (`engine.attempts`).
        now: Seconds, on any clock.
    """
    if failures >= limit:
        reason = joined(error.what, f"Given up after {_times(failures, 'try')}.")
        return Decision(Kind.FAIL, now, waiting=None, reason=reason)
    return Decision(Kind.RETRY, now + backoff(failures), waiting=Waiting.RETRY_AT, reason=str(error))


def after_crash(crashes: int, now: float) -> Decision:
    """What becomes of an orphaned job: one that was running when the daemon or the machine went down.

    Args:
        crashes: How often that happened to this job, this time included.
        now: Seconds, on any clock.
    """
    often = _times(crashes, "time")
    if crashes >= CRASHES_MAX:
        reason = f"The daemon or the machine went down {often} while this job ran. It may be the cause."
        return Decision(Kind.FAIL, now, waiting=None, reason=reason)
    reason = f"The daemon or the machine went down while this job ran ({often})."
    return Decision(Kind.RETRY, now + backoff(crashes), waiting=Waiting.RETRY_AT, reason=reason)


def clamped(not_before: float, now: float) -> float:
    """When the next attempt may come, where that is written down as a time of the wall clock.

    No pause is longer than BACKOFF_MAX, so a time that is further away is one of before the clock was set back.

    Args:
        not_before: what is written down.
        now: seconds, on the same clock.
    """
    return not_before if not_before <= now + BACKOFF_MAX + CLOCK_MARGIN else now + BACKOFF_MAX


def waiting_for(error: errors.EnvironmentFault) -> Waiting:
    """What a job waits on that an error of the environment keeps from going on."""
    return next(waiting for cause, (waiting, _) in _RELEASES.items() if isinstance(error, cause))


def backoff(times: int) -> float:
    """Seconds to wait after something failed so many times in a row: 2, 4, 8 ... 60."""
    return min(BACKOFF_MAX, 2.0 ** min(max(times, 1), 10))


_ENDS: dict[type[errors.PovwatchError], Kind] = {
    errors.NotAVideo: Kind.REJECT,
    errors.Blocked: Kind.BLOCK,
    errors.Permanent: Kind.FAIL,
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
    # Every other fault of the environment.
    errors.EnvironmentFault: (Waiting.PAUSED, ENVIRONMENT_PAUSE),
    errors.MachineError: (Waiting.ENGINE_UNAVAILABLE, ENVIRONMENT_PAUSE),
}


def _times(count: int, noun: str) -> str:
    many = "tries" if noun == "try" else f"{noun}s"
    return f"{count} {noun}" if count == 1 else f"{count} {many}"
