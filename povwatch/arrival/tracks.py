"""Where each clip is on its way in, and when it is looked at next. Pure; time is an argument."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from povwatch.files.signature import identity_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from povwatch.arrival.settle import Settle

GONE_PATIENCE = 5.0
"""Seconds until a missing clip's job is cancelled: an editor or a sync tool may put the clip back."""

LOST_MAX = 100_000
"""Missing clips that are remembered: as many as a renamed folder may hold."""

PERCENT_STEP = 10
"""Percentage points between two log lines about an arriving clip."""

INCOMPLETE_TODO = "Copy it again. If it is still being copied, there is nothing to do: it goes on by itself."

DAMAGED_TODO = "If this is all that there is of it, have what can be decoded run: {go}"

HELD_BACK_TODO = "If no program is copying it any more, delete {partial}: it is what an earlier copy has left."


class Phase(Enum):
    """Where a clip is on its way in."""

    SETTLING = auto()
    """Sampled until it stays the same."""
    INSPECTING = auto()
    """A child process reads it: a long index first, then every packet."""
    WAITING = auto()
    """Something is missing. The next change wakes it."""
    IN = auto()
    """Arrived. Only changes are watched for."""


@dataclass(slots=True)
class Track:
    """A clip whose job has not ended."""

    job: int
    signature: bytes
    phase: Phase
    since: float
    settle: Settle | None = None
    """Only while it settles and is inspected."""
    due: float | None = None
    """When it is looked at next: its timer."""
    percent: int = -PERCENT_STEP
    gone_at: float | None = None
    held_back: bytes | None = None
    """Its unfinished copy beside it."""
    warned: bool = False
    faults: int = 0
    """How often in a row the machine prevented its inspection, or killed the process."""
    todo: str = INCOMPLETE_TODO
    """What to do about a clip that waits."""


class Tracks:
    """The clips whose jobs have not ended, each with one timer."""

    def __init__(self, missing: dict[tuple[int, int], int]) -> None:
        self._tracks: dict[bytes, Track] = {}
        self._missing = missing
        self._due: list[tuple[float, bytes]] = []
        """A heap of all timers that were ever set. Outdated ones are skipped."""

    def __contains__(self, path: bytes) -> bool:
        return path in self._tracks

    def __getitem__(self, path: bytes) -> Track:
        return self._tracks[path]

    def __setitem__(self, path: bytes, track: Track) -> None:
        self._tracks[path] = track

    def __delitem__(self, path: bytes) -> None:
        del self._tracks[path]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._tracks)

    def get(self, path: bytes) -> Track | None:
        """A clip's track, if it has one."""
        return self._tracks.get(path)

    def items(self) -> Iterable[tuple[bytes, Track]]:
        """Every clip with its track."""
        return self._tracks.items()

    def values(self) -> Iterable[Track]:
        """Every track."""
        return self._tracks.values()

    def plan(self, path: bytes, when: float) -> None:
        """Set a clip's timer. It replaces the earlier one."""
        self._tracks[path].due = when
        heapq.heappush(self._due, (when, path))

    def lose(self, path: bytes, now: float) -> None:
        """Note that a clip is missing. Its timer ends when its time to come back does."""
        track = self._tracks.get(path)
        if track is not None and track.gone_at is None:
            track.gone_at = now
            if len(self._missing) >= LOST_MAX:
                self._missing.pop(next(iter(self._missing)))
            if track.signature:
                self._missing[identity_of(track.signature)] = track.job
            self.plan(path, now + GONE_PATIENCE)

    def next_deadline(self) -> float | None:
        """When the first timer ends."""
        while self._due:
            when, path = self._due[0]
            track = self._tracks.get(path)
            if track is not None and track.due == when:
                return when
            heapq.heappop(self._due)
        return None

    def take_due(self, now: float) -> bytes | None:
        """A clip whose timer has ended. It has no timer until the next `plan`."""
        when = self.next_deadline()
        if when is None or when > now:
            return None
        _, path = heapq.heappop(self._due)
        self._tracks[path].due = None
        return path
