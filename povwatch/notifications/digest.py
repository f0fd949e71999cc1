"""Groups notices into messages, and says when the next message is due. Pure: time is an argument.

1. The first notice after a quiet time is sent after COLLECT seconds, with whatever else has come by then.
2. Further notices of the same kind wait, each message longer than the one before it: PAUSES. So a night with 200
   failures makes eight messages, and each has all that has happened since the last one.
3. When a kind had nothing to say for twice its pause, it begins anew.
4. A service that fails is tried again after the pauses in FAILURES; meanwhile its notices wait.
5. What is older than KEPT is not sent any more.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.config.notify import KINDS
from povwatch.core.sentences import joined

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.config.notify import Kind
    from povwatch.notifications.notice import Notice

COLLECT = 10.0
"""Seconds that the first notice waits for others."""

PAUSES = (300.0, 1800.0, 7200.0)
"""Seconds between two messages about one kind; the last one is repeated."""

FAILURES = (60.0, 300.0, 900.0, 1800.0)
"""Seconds until a service that failed is tried again; the last one is repeated."""

KEPT = 2 * 86400.0
"""Seconds after which a notice that could not be sent is dropped."""

LISTED = 10
"""How many notices of a kind a message lists."""

TITLES: dict[Kind, tuple[str, str]] = {
    "done": ("1 clip is done", "{count} clips are done"),
    "failed": ("1 clip failed", "{count} clips failed"),
    "blocked": ("1 clip was blocked by the guardrail", "{count} clips were blocked by the guardrail"),
    "queue-empty": ("the queue is empty", "the queue was empty {count} times"),
    "gpu-lost": ("the GPU is lost", "the GPU was lost {count} times"),
    "disk-full": ("the disk is full", "the disk was full {count} times"),
    "stalled": ("nothing goes on", "nothing went on, {count} times"),
}
"""What a message says first about one notice, and about several."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast messages about one kind were sent to one service."""

    sent_at: float
    """When the last one was sent, in seconds since the epoch."""
    times: int
    """How many were sent in a row."""

    @property
    def pause(self) -> float:
        """Seconds until the next one."""
        return PAUSES[min(self.times, len(PAUSES)) - 1] if self.times else 0.0


def due(oldest: float, pace: Pace | None, now: float) -> float:
    """When the waiting notices of one kind are sent to one service. All times are in seconds since the epoch.

    Args:
        oldest: when the oldest of them happened.
        pace: of the messages before; None if there was none.
    """
    first = min(oldest, now) + COLLECT  # a clock that was set back must not delay it
    return first if pace is None else max(first, min(pace.sent_at, now) + pace.pause)


def sent(pace: Pace | None, now: float) -> Pace:
    """The pace after one more message."""
    if pace is None or now - pace.sent_at > 2 * pace.pause:
        return Pace(now, 1)
    return Pace(now, pace.times + 1)


def retry_after(failures: int) -> float:
    """Seconds until a service is tried again that failed so often in a row."""
    return FAILURES[min(max(failures, 1), len(FAILURES)) - 1]


def title(notices: Sequence[Notice], host: str) -> str:
    """A message's first line, the most urgent kind first."""
    many = Counter[str]()
    for notice in notices:
        many[notice.kind] += notice.count
    parts = [_heading(kind, many[kind]) for kind in reversed(KINDS) if many[kind]]
    return f"povwatch on {host}: {', '.join(parts)}"


def body(notices: Sequence[Notice]) -> str:
    """A message's text: what happened by kind, the most urgent first, and what to do about it."""
    return "\n\n".join(
        _section(kind, found) for kind in reversed(KINDS) if (found := [one for one in notices if one.kind == kind])
    )


def _section(kind: Kind, notices: Sequence[Notice]) -> str:
    many = sum(notice.count for notice in notices)
    lines = [f"{_heading(kind, many)[0].upper()}{_heading(kind, many)[1:]}:"]
    lines += [f"- {notice.text}" for notice in notices[-LISTED:]]
    if (more := many - min(len(notices), LISTED)) > 0:
        lines.append(f"- and {more} more before")
    if todos := list(dict.fromkeys(notice.todo for notice in notices if notice.todo)):
        lines.append(joined(*todos[-LISTED:]))
    return "\n".join(lines)


def _heading(kind: Kind, many: int) -> str:
    one, several = TITLES[kind]
    return one if many == 1 else several.format(count=many)
