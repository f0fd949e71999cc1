"""The grace clock of a clip that has arrived. Pure; time is an argument.

The rules:

1. Grace starts when the clip has arrived and its JSON exists.
2. Other contents of the JSON restart it; a bare touch does not.
3. Hold stops the clock, whoever says it. Hold beats go, except that a go overrides a hold in the JSON, which is older.
4. An invalid JSON stops the clock. After `max` seconds of that the clip is rejected.
5. An editor that has the JSON open stops the clock.
6. Go ends the grace at once, even with an open editor, but never with an invalid JSON.
7. A file that the JSON names keeps the clip from starting until it is measured; the clock runs meanwhile.
8. The remaining time survives a restart: never a full reset, never an instant start. A stopped clock stays stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from povwatch.core.job import Waiting

CLOCK_RUNS = frozenset({Waiting.GRACE, Waiting.PAUSED})
"""What a clip waits on while its clock runs. Paused: a file that its JSON names cannot be measured."""

RESTART_FLOOR = 30.0
"""Seconds that remain at least after a restart (or the period, if shorter): nobody saw the deadline pass."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The state of the files beside a clip."""

    digest: str
    """Digest of the JSON's bytes."""
    valid: bool
    """Whether the JSON can be run."""
    editing: bool = False
    """Whether an editor has the JSON open."""
    hold: bool = False
    go: bool = False
    unmeasured: bool = False
    """Whether a file that the JSON names is still to be measured."""


@dataclass(frozen=True, slots=True)
class Grace:
    """The clock of one clip."""

    left: float
    """Seconds."""
    seen_at: float
    """When the last sample was taken, on the boot clock."""
    digest: str
    """Digest of the JSON that the clock runs for."""
    waiting: Waiting | None = Waiting.GRACE
    """What the clip waits on; None once nothing holds it."""
    invalid_since: float | None = None
    restarted: bool = False
    """Whether the last sample restarted the clock."""
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
        digest: of the JSON that the clock ran for.
        period: `grace.period`, seconds.
        now: boot clock, seconds.
        left: seconds that were left when they were last saved.
        away: wall-clock seconds since then; negative if the clock was set back.
        invalid_for: seconds for which the JSON was invalid; None if it was valid.
        stood: whether the clock was stopped then: nobody released the clip while povwatch was off.
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
    """The clock after a sample at `now` (boot clock). `period` is `grace.period`, `limit` `grace.max`, in seconds."""
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
        waiting = Waiting.GRACE if sample.unmeasured else None
    elif sample.editing:
        waiting = Waiting.EDITING
    else:
        waiting = Waiting.GRACE if left > 0 or sample.unmeasured else None
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
