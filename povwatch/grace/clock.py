"""The grace period: what a clip that has arrived waits on. Pure; time is passed in.

The rules:

1. Grace starts when the clip has arrived and its JSON exists.
2. Another content of the JSON starts it anew; a bare touch does not.
3. Hold stops the clock, whoever says it. Hold beats go; only the JSON's own hold gives way, as go was said after it.
4. A JSON that cannot be run stops the clock; after `max` of that the clip is rejected.
5. An editor that has the JSON open stops the clock.
6. Go ends the grace at once, also over an open editor, but never with a JSON that cannot be run.
7. A file that the JSON names and that is not known yet keeps the clip from starting; the clock runs meanwhile.
8. What is left survives a restart: never a full reset, never an instant start. A clock that stood still stays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from povwatch.core.job import Waiting

RUNS = frozenset({Waiting.GRACE, Waiting.PAUSED})
"""What a clip in its grace waits on while its clock runs; paused: a file that its JSON names cannot be looked at."""

RESTART_FLOOR = 30.0
"""Seconds that remain at least after a restart, or the period if that is shorter: nobody saw the deadline pass."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen beside the clip."""

    digest: str
    """Of the JSON's bytes."""
    valid: bool
    """Whether it can be run."""
    editing: bool = False
    """Whether an editor has it open."""
    hold: bool = False
    go: bool = False
    looking: bool = False
    """Whether a file that the JSON names is still being looked at."""


@dataclass(frozen=True, slots=True)
class Grace:
    """The clock of one clip."""

    left: float
    """Seconds that are left."""
    seen_at: float
    """When it was last looked at."""
    digest: str
    """The JSON's content that the clock runs for."""
    waiting: Waiting | None = Waiting.GRACE
    """What the clip waits on; None when nothing holds it any more."""
    invalid_since: float | None = None
    restarted: bool = False
    """Whether the last look started the clock anew."""
    expired: bool = False
    """Whether the JSON was invalid for too long."""

    @property
    def over(self) -> bool:
        """Whether the clip may be queued."""
        return self.waiting is None


def begin(digest: str, period: float, now: float) -> Grace:
    """The clock of a clip that has just arrived."""
    return Grace(left=period, seen_at=now, digest=digest)


def resume(
    digest: str,
    period: float,
    now: float,
    *,
    left: float,
    away: float,
    invalid_for: float | None,
    stood: bool = False,
) -> Grace:
    """The clock after a restart.

    Args:
        digest: the JSON's content that the clock ran for.
        period: `grace.period`.
        now: boot clock, seconds.
        left: seconds that were left when that was last written down.
        away: wall-clock seconds since; may be negative after a clock step.
        invalid_for: for how long the JSON could not be run, if it could not.
        stood: whether it stood still then: nobody let the clip go while povwatch was off.
    """
    floor = min(RESTART_FLOOR, period)
    remaining = min(max(left - (0.0 if stood else max(away, 0.0)), floor), period)
    return Grace(
        left=remaining,
        seen_at=now,
        digest=digest,
        invalid_since=None if invalid_for is None else now - max(invalid_for, 0.0),
    )


def observe(grace: Grace, sample: Sample, now: float, *, period: float, limit: float) -> Grace:
    """Look at a clip's surroundings.

    Args:
        grace: the clock so far.
        sample: what was seen.
        now: boot clock, seconds.
        period: `grace.period`, seconds.
        limit: `grace.max`, seconds.
    """
    restarted = sample.digest != grace.digest
    left = period if restarted else grace.left
    if not restarted and grace.waiting is Waiting.GRACE:
        left -= now - grace.seen_at
    invalid_since = None if sample.valid else (now if grace.invalid_since is None else grace.invalid_since)
    waiting: Waiting | None
    if not sample.valid:
        waiting = Waiting.INVALID_SPEC
    elif sample.hold:
        waiting = Waiting.HELD
    elif sample.go:
        waiting = Waiting.GRACE if sample.looking else None
    elif sample.editing:
        waiting = Waiting.EDITING
    else:
        waiting = Waiting.GRACE if left > 0 or sample.looking else None
    return replace(
        grace,
        left=max(left, 0.0),
        seen_at=now,
        digest=sample.digest,
        waiting=waiting,
        invalid_since=invalid_since,
        restarted=restarted,
        expired=invalid_since is not None and now - invalid_since >= limit,
    )
