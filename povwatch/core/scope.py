"""Which clips this povwatch is for: all, or those that `run --once CLIP...` names. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """The others are left as they are: not taken in, not started, not cancelled, their grace stands still.

    What one of them was promised before is kept all the same, and what was generated for it is checked: that costs
    nothing, and lies about otherwise.
    """

    clips: frozenset[bytes] | None = None
    """Paths relative to inputs/; None for every clip."""

    def __contains__(self, path: bytes) -> bool:
        return self.clips is None or path in self.clips


ALL = Scope()
