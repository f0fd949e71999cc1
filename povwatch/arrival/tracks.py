"""Where each clip is on its way in, and when it is looked at next. Pure; time is passed in."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from povwatch.files.signature import identity_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from povwatch.arrival.settle import Settle
    from povwatch.files.signature import Signature

GONE_PATIENCE = 5.0
"""Seconds after which a clip that is gone cancels its job: an editor or a sync tool may put it back."""

LOST_MAX = 100_000
"""Clips that are remembered after they were not found: as many as a folder holds that is renamed."""

PERCENT_STEP = 10
"""Percent between two lines about an arriving clip."""

INCOMPLETE_TODO = "Copy it again. If it is still being copied, there is nothing to do: it goes on by itself."

DAMAGED_TODO = "If this is all that there is of it, have what can be decoded run: {go}"

HELD_BACK_TODO = "If no program is copying it any more, delete {partial}: it is what an earlier copy has left."


class Phase(Enum):
    """Where a clip is on its way in."""

    SETTLING = auto()
    """Sampled until it stays the same."""
    INSPECTING = auto()
    """A child looks into it: at a long index, then at every packet."""
    WAITING = auto()
    """Something is missing; the next change wakes it."""
    IN = auto()
    """Arrived; watched for changes only."""


@dataclass(slots=True)
class Track:
    """One clip that has a job under way."""

    job: int
    signature: bytes
    phase: Phase
    since: float
    settle: Settle | None = None
    """While it settles and is inspected."""
    due: float | None = None
    """When it is looked at next; a clip has one timer."""
    percent: int = -PERCENT_STEP
    gone_at: float | None = None
    held_back: bytes | None = None
    """The unfinished copy of it that lies beside it."""
    warned: bool = False
    faults: int = 0
    """How often in a row the machine did not let us inspect it, or killed what did."""
    todo: str = INCOMPLETE_TODO
    """What helps a clip that waits."""


class Tracks:
    """The clips that have a job under way, each with one timer."""

    def __init__(self) -> None:
        self._tracks: dict[bytes, Track] = {}
        self._lost: dict[tuple[int, int], int] = {}
        """Device and inode of each clip that was not found, to its job: under another name it is the same file."""
        self._due: list[tuple[float, bytes]] = []
        """Every setting of a timer; those that were set anew since are passed over."""

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
        """Set a clip's timer; an earlier setting counts no longer."""
        self._tracks[path].due = when
        heapq.heappush(self._due, (when, path))

    def lose(self, path: bytes, now: float) -> None:
        """A clip was not found; `gone_at` says since when, and its timer ends when its time to come back does."""
        track = self._tracks.get(path)
        if track is not None and track.gone_at is None:
            track.gone_at = now
            if len(self._lost) >= LOST_MAX:
                self._lost.pop(next(iter(self._lost)))
            if track.signature:
                self._lost[identity_of(track.signature)] = track.job
            self.plan(path, now + GONE_PATIENCE)

    def lost_as(self, signature: Signature) -> int | None:
        """The job of a clip that was this very file and was not found under its name; None if there is none."""
        return self._lost.get(identity_of(signature))

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
        """A clip whose timer has ended; it has none until the next `plan`."""
        when = self.next_deadline()
        if when is None or when > now:
            return None
        _, path = heapq.heappop(self._due)
        self._tracks[path].due = None
        return path
