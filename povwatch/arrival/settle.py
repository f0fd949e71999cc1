"""When a file has been quiet for long enough. Pure: the clock is an argument.

The rule: the same signature in at least three samples over `settle` seconds, counted from the last change that was
**observed**. The file's own times do not count: `cp -p` and `rsync -a` bring old ones along, and clocks step.

A gap between two samples counts for at most half of `settle`. So two samples are never enough, and a machine that slept
in between has to look again.
"""

from __future__ import annotations

TOLERANCE = 1e-6
"""Seconds; two halves of a float may fall short of the whole."""


class Settle:
    """The quiet time of one file. Small: there may be 100,000.

    Times are seconds of the boot clock, which goes on while the machine sleeps and is never set.
    """

    __slots__ = ("_at", "_quiet", "_signature")

    def __init__(self) -> None:
        self._signature: bytes | None = None
        self._at = 0.0
        self._quiet = 0.0

    def observe(self, signature: bytes, now: float, settle: float) -> bool:
        """Take a sample; True if it differs from the one before (or is the first).

        Args:
            signature: What fstat says about the file now.
            now: When that was.
            settle: Seconds of quiet that are asked for.
        """
        changed = signature != self._signature
        if changed:
            self._signature, self._quiet = signature, 0.0
        else:
            self._quiet += min(max(now - self._at, 0.0), settle / 2)
        self._at = now
        return changed

    def settled(self, settle: float) -> bool:
        """Whether it was quiet for `settle` seconds at its last sample."""
        return self._signature is not None and self._quiet >= settle - TOLERANCE

    def next_sample(self, settle: float) -> float:
        """When to look again; at once if it was never seen."""
        return self._at if self._signature is None else self._at + settle / 2

    def left(self, settle: float) -> float:
        """Seconds of quiet still to go, for people."""
        return max(0.0, settle - self._quiet)

    @property
    def signature(self) -> bytes | None:
        """What the last sample saw."""
        return self._signature
