"""Tells when a file has been quiet for long enough. Pure: the clock is an argument.

The rule: the same signature in at least three samples over `settle` seconds, counted from the last **observed** change.
The file's own times do not count: `cp -p` and `rsync -a` keep old ones, and clocks are set.

A gap between two samples counts for at most half of `settle`. So two samples are never enough, and after a machine
slept the file is sampled again.
"""

from __future__ import annotations

TOLERANCE = 1e-6
"""Seconds. Two halves of a float may fall short of the whole."""


class Settle:
    """The quiet time of one file. It is small, since there may be 100,000.

    Times are seconds of the boot clock, which counts the machine's sleep and is never set.
    """

    __slots__ = ("_at", "_quiet", "_signature")

    def __init__(self) -> None:
        self._signature: bytes | None = None
        self._at = 0.0
        self._quiet = 0.0

    def observe(self, signature: bytes, now: float, settle: float) -> None:
        """Take a sample. `settle` is the quiet time that is required, in seconds."""
        if signature != self._signature:
            self._signature, self._quiet = signature, 0.0
        else:
            self._quiet += min(max(now - self._at, 0.0), settle / 2)
        self._at = now

    def settled(self, settle: float) -> bool:
        """Whether the file had been quiet for `settle` seconds at its last sample."""
        return self._signature is not None and self._quiet >= settle - TOLERANCE

    def next_sample(self, settle: float) -> float:
        """When to sample next; at once if there was no sample."""
        return self._at if self._signature is None else self._at + settle / 2
