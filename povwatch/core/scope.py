"""The clips that this povwatch handles: all, or the ones that `run --once CLIP...` names. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """A set of clips. Others are left alone: not taken in, not started, not cancelled, their grace stopped.

    An earlier promise for another clip is still kept, and its artifact is still checked. Neither costs generation, and
    otherwise the files would be left over.
    """

    clips: frozenset[bytes] | None = None
    """Paths relative to inputs/; None for every clip."""

    def __contains__(self, path: bytes) -> bool:
        return self.clips is None or path in self.clips


ALL = Scope()
