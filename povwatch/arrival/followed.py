"""The clips whose jobs have not ended: where each is on its way in, and when it is sampled next. Pure."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from povwatch.arrival.settle import Settle

if TYPE_CHECKING:
    from povwatch.core.job import Job

PERCENT_STEP = 10
"""Percentage points between two log lines about an arriving clip."""

INCOMPLETE_TODO = "Copy it again. If it is still being copied, there is nothing to do: it goes on by itself."


class Phase(Enum):
    """Where a clip is on its way in."""

    SETTLING = auto()
    """Sampled until it stays the same."""
    INSPECTING = auto()
    """A child process reads it: a long index first, then every packet."""
    WAITING = auto()
    """Something is missing. The next change wakes it."""
    ARRIVED = auto()
    """Arrived. Only changes are watched for."""


@dataclass(slots=True)
class FollowedClip:
    """A clip whose job has not ended."""

    path: bytes
    job: int
    signature: bytes
    phase: Phase
    since: float
    settle: Settle | None = None
    """Only while it settles and is inspected."""
    due: float | None = None
    """When its timer ends."""
    percent: int = -PERCENT_STEP
    """How much of it had arrived by the last log line."""
    gone_at: float | None = None
    held_back: bytes | None = None
    """Its unfinished copy beside it."""
    warned: bool = False
    faults: int = 0
    """How often in a row the machine prevented its inspection, or killed the process."""
    todo: str = INCOMPLETE_TODO
    """What to do about a clip that waits."""


class FollowedClips(dict[bytes, FollowedClip]):
    """The clips by path, each with one timer. Times are seconds of the boot clock."""

    def __init__(self, settle: float) -> None:
        super().__init__()
        self.settle = settle
        """Seconds for which a clip has to be quiet."""
        self._timers: list[tuple[float, bytes]] = []
        """A heap of all timers that were ever set. Outdated ones are skipped."""

    def of(self, job: Job) -> FollowedClip | None:
        """The clip that is followed for this job."""
        clip = self.get(job.path)
        return clip if clip is not None and clip.job == job.id else None

    def begin(self, job: Job, signature: bytes, now: float, *, since: float | None = None) -> None:
        """Begin to sample a clip. `since` says since when it is incomplete, if before now."""
        clip = FollowedClip(job.path, job.id, signature, Phase.SETTLING, now if since is None else since)
        self.observe(clip, signature, now)
        self[job.path] = clip
        self.plan_sample(clip)

    def observe(self, clip: FollowedClip, signature: bytes, now: float) -> None:
        """Take a sample of a clip that settles, or begins to."""
        clip.settle = clip.settle or Settle()
        clip.settle.observe(signature, now, self.settle)

    def settled(self, clip: FollowedClip, *, times: int = 1) -> bool:
        """Whether a clip has been quiet for so many times `settle`."""
        return clip.settle is not None and clip.settle.settled(times * self.settle)

    def plan_sample(self, clip: FollowedClip) -> None:
        """Set the timer of a clip that settles for its next sample."""
        assert clip.settle is not None  # noqa: S101 - settling clips have one
        self.plan(clip, clip.settle.next_sample(self.settle))

    def plan(self, clip: FollowedClip, when: float) -> None:
        """Set a clip's timer. It replaces the earlier one."""
        clip.due = when
        heapq.heappush(self._timers, (when, clip.path))

    def next_deadline(self) -> float | None:
        """When the first timer ends."""
        while self._timers:
            when, path = self._timers[0]
            clip = self.get(path)
            if clip is not None and clip.due == when:
                return when
            heapq.heappop(self._timers)
        return None

    def take_due(self, now: float) -> FollowedClip | None:
        """A clip whose timer has ended. It has no timer until the next `plan`."""
        when = self.next_deadline()
        if when is None or when > now:
            return None
        _, path = heapq.heappop(self._timers)
        self[path].due = None
        return self[path]
