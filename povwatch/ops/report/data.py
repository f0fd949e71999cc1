"""A report in numbers. Pure. Units are seconds, bytes and frames; None means not measured, never 0."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

from povwatch.core.job import BAD_ENDS, JobState
from povwatch.core.scores import SCORES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

STAGE_WORDS = {
    "hooks": "hooks",
    "prepare": "copying the clip",
    "generate": "generating",
    "finish": "putting times and sound back",
    "check": "checking every frame",
    "score": "scoring",
    "publish": "publishing",
    "lost": "attempts that came to nothing",
}
"""The stages of a run, in order, and what they are called."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A video's properties."""

    frames: int | None = None
    rate: float | None = None
    """Frames per second."""
    width: int | None = None
    height: int | None = None
    duration: float | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt, by the wall clock."""

    begun: float
    ended: float
    lost: bool
    """Whether it failed."""


@dataclass(frozen=True, slots=True)
class Line:
    """One clip's run so far."""

    job: int
    clip: str
    """Printable, on one line, as are all texts here."""
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
    """By stage of `STAGE_WORDS`; only measured ones."""
    gpu: str | None = None
    gpu_seconds: float | None = None
    """Of all its GPUs together, including failed attempts."""
    energy: float | None = None
    """Joules."""
    peak_memory: int | None = None
    """Bytes, on one GPU."""
    source: Picture = field(default_factory=Picture)
    result: Picture = field(default_factory=Picture)
    scores: Mapping[str, float] = field(default_factory=dict)
    """The scores of its result, by their names in core/scores.py."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Scores that have no number, with the word that says why."""
    tries: int = 0
    """The number of seeds that were tried; 0 if results are not judged."""
    passed: bool | None = None
    """Whether the published result passes the rules; None if nothing is judged by rules."""
    output: str | None = None
    """Relative to outputs/."""
    damage: str = ""
    """The frames of the clip that did not decode, in sentences; the result lacks them."""
    problem: str = ""
    """Why it failed or what it waits on; for a finished clip, what is to be known about it."""
    todo: str = ""
    """What to do about the problem."""
    flawed: bool = False
    """Whether it is done with a flaw: its clip is damaged, it does not pass, or a hook after it failed."""
    again: int | None = None
    """The number of a newer job of the same clip."""

    @property
    def started_at(self) -> float | None:
        """The start of its first run."""
        return self.runs[0].begun if self.runs else None

    @property
    def took(self) -> float | None:
        """Seconds of work on it, without waits."""
        return sum(self.seconds.values()) if self.seconds else None

    @property
    def ended_badly(self) -> bool:
        """Whether it failed, and has no newer job."""
        return self.state in BAD_ENDS and self.again is None

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return not self.state.ended


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of all runs together, in seconds."""

    kind: str
    """A key of `STAGE_WORDS`."""
    seconds: float
    median: float
    longest: float

    @property
    def name(self) -> str:
        """For people."""
        return STAGE_WORDS[self.kind]


@dataclass(frozen=True, slots=True)
class Report:
    """Some runs and their totals."""

    lines: Sequence[Line]
    made_at: float
    version: str
    title: str = "povwatch"
    since: float | None = None
    """Jobs that ended earlier are left out."""
    before: int = 0
    """The number of clips that were done before."""
    left: Sequence[str] = ()
    """Clips that were left alone, because others were named."""
    notes: Sequence[str] = ()
    """What kept all clips from running: no engine, a folder that is away, an interruption."""

    @property
    def done(self) -> int:
        """The number of finished clips."""
        return sum(line.state is JobState.DONE for line in self.lines)

    @property
    def ended_badly(self) -> Sequence[Line]:
        """The failed ones, latest first."""
        return sorted((line for line in self.lines if line.ended_badly), key=lambda line: -(line.ended_at or 0))

    @property
    def flawed(self) -> Sequence[Line]:
        """The finished ones with a flaw."""
        return [line for line in self.lines if line.flawed]

    @property
    def open(self) -> Sequence[Line]:
        """Those that have not ended."""
        return [line for line in self.lines if line.open]

    @property
    def attention(self) -> Sequence[tuple[str, Sequence[Line]]]:
        """The lines that need attention, by heading."""
        return (("Did not come out", self.ended_badly), ("Came out, but", self.flawed), ("Still open", self.open))

    @property
    def cancelled(self) -> int:
        """The number of withdrawn clips."""
        return sum(line.state is JobState.CANCELLED and line.again is None for line in self.lines)

    @property
    def wall(self) -> tuple[float, float] | None:
        """The first start and the last end, in seconds since the epoch; None if no clip ran."""
        starts = [line.started_at for line in self.lines if line.started_at is not None]
        ends = [line.ended_at for line in self.lines if line.ended_at is not None and line.started_at is not None]
        return (min(starts), max(ends)) if starts and ends and max(ends) > min(starts) else None

    @property
    def an_hour(self) -> float | None:
        """Finished clips per hour; None if the time is too short to tell."""
        ran = sum(line.state is JobState.DONE and line.started_at is not None for line in self.lines)
        return ran / (self.wall[1] - self.wall[0]) * 3600 if self.wall and ran > 1 else None

    @property
    def stages(self) -> Sequence[Stage]:
        """The stages of all runs together, where measured."""
        return [
            Stage(name, sum(found), median(found), max(found))
            for name in STAGE_WORDS
            if (found := [line.seconds[name] for line in self.lines if name in line.seconds])
        ]

    @property
    def scores(self) -> Sequence[str]:
        """The names of the scores that any result has, or has a word for."""
        return [name for name in SCORES if any(name in line.scores or name in line.missing for line in self.lines)]

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of all runs together, by stage."""
        return {stage.kind: stage.seconds for stage in self.stages}


def total(values: Iterable[float | None]) -> float | None:
    """The sum of the measured values; None if there are none."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def middle(values: Iterable[float | None]) -> float | None:
    """The median of the measured values; None if there are none."""
    known = [value for value in values if value is not None]
    return median(known) if known else None


def largest(values: Iterable[float | None]) -> float | None:
    """The largest measured value; None if there are none."""
    return max((value for value in values if value is not None), default=None)
