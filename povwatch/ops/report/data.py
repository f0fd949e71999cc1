"""A report in numbers. Pure; seconds, bytes, frames. `None` is what nobody measured, and never 0."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from povwatch.core.job import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from povwatch.ops.report.timing import Run

STAGES = ("hooks", "prepare", "generate", "finish", "check", "publish", "lost")
"""Where a run's time goes; `lost` are attempts that came to nothing."""

STAGE_WORDS = {
    "hooks": "hooks",
    "prepare": "copying the clip",
    "generate": "generating",
    "finish": "putting times and sound back",
    "check": "checking every frame",
    "publish": "publishing",
    "lost": "attempts that came to nothing",
}

NOT_OUT = frozenset({JobState.FAILED, JobState.BLOCKED, JobState.REJECTED})
"""The ends that somebody has to do something about."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A video's shape."""

    frames: int | None = None
    rate: float | None = None
    """Frames a second."""
    width: int | None = None
    height: int | None = None
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One clip's run, as far as it came."""

    job: int
    clip: str
    """As people may see it: printable, on one line. So are all texts here."""
    state: JobState
    attempts: int = 0
    crashes: int = 0
    engine: str | None = None
    seen_at: float | None = None
    """Seconds since the epoch, like all moments here."""
    queued_at: float | None = None
    runs: tuple[Run, ...] = ()
    """Its attempts."""
    ended_at: float | None = None
    arriving: float | None = None
    """Seconds from the first byte seen to the whole clip."""
    grace: float | None = None
    queued: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    """Of `STAGES`, those that were measured."""
    gpu: str | None = None
    gpu_seconds: float | None = None
    """Of all its GPUs together, of attempts that came to nothing too."""
    energy: float | None = None
    """Joules."""
    peak_memory: int | None = None
    """Of one GPU."""
    source: Picture = field(default_factory=Picture)
    result: Picture = field(default_factory=Picture)
    output: str | None = None
    """Below outputs/."""
    damage: str = ""
    """What of the clip did not decode, in sentences: its result lacks those frames."""
    problem: str = ""
    """Why it did not come out, or what it waits on; of one that did, what is to be known about it."""
    todo: str = ""
    """What to do about that."""
    flawed: bool = False
    """Whether it came out and there is something to know: its clip is damaged, or a hook that runs after it failed."""
    again: int | None = None
    """The newer job of the same clip, if it was tried once more."""

    @property
    def started_at(self) -> float | None:
        """When a worker had it first."""
        return self.runs[0].begun if self.runs else None

    @property
    def took(self) -> float | None:
        """Seconds of work on it; without its waits."""
        return sum(self.seconds.values()) if self.seconds else None

    @property
    def not_out(self) -> bool:
        """Whether it did not come out, and nobody has tried again since."""
        return self.state in NOT_OUT and self.again is None

    @property
    def open(self) -> bool:
        """Whether it is still under way."""
        return not self.state.ended


@dataclass(frozen=True, slots=True)
class Report:
    """Some runs, and what they come to."""

    lines: Sequence[Line]
    made_at: float
    version: str
    title: str = "povwatch"
    since: float | None = None
    """What ended before that is not in it."""
    before: int = 0
    """Clips that are here and were done before."""
    left: Sequence[str] = ()
    """Clips that were left as they are, as others were named."""
    notes: Sequence[str] = ()
    """What was in the way of all of them: no engine, a folder that is away, an interruption."""

    @property
    def done(self) -> int:
        """How many came out."""
        return sum(line.state is JobState.DONE for line in self.lines)

    @property
    def not_out(self) -> Sequence[Line]:
        """Those that did not, the latest first."""
        return sorted((line for line in self.lines if line.not_out), key=lambda line: -(line.ended_at or 0))

    @property
    def flawed(self) -> Sequence[Line]:
        """Those that came out, with something to see to."""
        return [line for line in self.lines if line.flawed]

    @property
    def open(self) -> Sequence[Line]:
        """Those that are still under way."""
        return [line for line in self.lines if line.open]

    @property
    def told(self) -> Sequence[tuple[str, Sequence[Line]]]:
        """What somebody has to know of, under its headings."""
        return (("Did not come out", self.not_out), ("Came out, but", self.flawed), ("Still open", self.open))

    @property
    def cancelled(self) -> int:
        """How many were withdrawn."""
        return sum(line.state is JobState.CANCELLED and line.again is None for line in self.lines)

    @property
    def wall(self) -> tuple[float, float] | None:
        """From the first start to the last end."""
        starts = [line.started_at for line in self.lines if line.started_at is not None]
        ends = [line.ended_at for line in self.lines if line.ended_at is not None and line.started_at is not None]
        return (min(starts), max(ends)) if starts and ends and max(ends) > min(starts) else None

    @property
    def an_hour(self) -> float | None:
        """Clips that came out in an hour of that time; None where it was too short to say."""
        ran = sum(line.state is JobState.DONE and line.started_at is not None for line in self.lines)
        return ran / (self.wall[1] - self.wall[0]) * 3600 if self.wall and ran > 1 else None

    def stage(self, name: str) -> list[float]:
        """What each run took in a stage, where it was measured."""
        return [line.seconds[name] for line in self.lines if name in line.seconds]

    @property
    def seconds(self) -> dict[str, float]:
        """What all runs together took, by stage."""
        return {name: sum(found) for name in STAGES if (found := self.stage(name))}


def total(values: Iterable[float | None]) -> float | None:
    """The sum of what was measured; None if nothing was."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def middle(values: Iterable[float | None]) -> float | None:
    """The median of what was measured."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def largest(values: Iterable[float | None]) -> float | None:
    """The largest of what was measured."""
    return max((value for value in values if value is not None), default=None)
