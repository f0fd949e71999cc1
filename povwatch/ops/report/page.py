"""A report as one HTML file, without network, scripts or fonts.

The template engine escapes all texts. In addition, the page's policy forbids the browser to load or run anything.
Widths and positions in charts are in thousandths of a chart's width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from povwatch.core.job import JobState
from povwatch.core.local_time import local
from povwatch.core.scores import SCORES
from povwatch.ops.report import words
from povwatch.ops.report.data import STAGE_WORDS, largest, middle, total

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from povwatch.ops.report.data import Line, Report

LABEL_WIDTH = 26
"""Characters of a clip's name beside the timeline."""

WHOLE = 1000.0

STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Possible seconds between two marks of a time axis; beyond these, days."""

MARKS_MAX = 9
"""The most marks of a time axis."""

ROWS_MAX = 150
"""The most rows of the timeline."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A number at the top of the page."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A clip in the table."""

    line: Line
    kind: str
    """done, bad, open or gone; it sets the colour of the state."""
    stages: Sequence[Part]
    memory: float | None
    wait: float | None


def as_html(report: Report) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("povwatch.ops.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    lines = sorted(report.lines, key=_order)
    longest = largest(line.took for line in lines) or 0.0
    memory, wait = largest(line.peak_memory for line in lines), largest(line.queued for line in lines)
    rows = [
        Row(
            line,
            _kind(line),
            stacked(line.seconds, longest),
            share(line.peak_memory, memory),
            share(line.queued, wait),
        )
        for line in lines
    ]
    sums = report.seconds
    return environment.get_template("page.html.j2").render(
        report=report,
        words=words,
        headline=words.headline(report),
        good=not any(lines for _, lines in report.attention) and bool(report.lines),
        tiles=_tiles(report),
        subtitle=_subtitle(report),
        rows=rows,
        gpu=any(line.gpu_seconds is not None for line in lines),
        memory=memory is not None,
        whole=stacked(sums, sum(sums.values())),
        stages=report.stages,
        seconds=sum(sums.values()) or 1.0,
        timeline=timeline(report),
        label=_label,
        scores=[SCORES[name] for name in report.scores],
        scored=[line for line in lines if line.scores or line.missing],
        worst={name: worst(report, name) for name in report.scores},
    )


def worst(report: Report, name: str) -> list[int]:
    """The jobs whose results have the worst number of a score; none if all have the same."""
    numbers = {line.job: line.scores[name] for line in report.lines if name in line.scores}
    if len(set(numbers.values())) < 2:  # noqa: PLR2004 - nothing to compare
        return []
    found = (min if SCORES[name].higher else max)(numbers.values())
    return [job for job, number in numbers.items() if number == found]


def _order(line: Line) -> tuple[int, float]:
    """Failed clips first, then open ones, then the rest in the order of their runs."""
    rank = 0 if line.ended_badly else 1 if line.open else 2
    return rank, line.started_at or line.seen_at or 0.0


def _kind(line: Line) -> str:
    if line.state is JobState.DONE:
        return "done"
    if line.ended_badly:
        return "bad"
    return "open" if line.open else "gone"


def _subtitle(report: Report) -> str:
    engines = sorted({line.engine for line in report.lines if line.engine and line.started_at})
    gpus = sorted({line.gpu for line in report.lines if line.gpu})
    parts = []
    if report.wall:
        parts.append(f"{words.moment(report.wall[0])} to {words.moment(report.wall[1])}")
    parts += [f"engine {', '.join(engines)}"] * bool(engines) + [", ".join(gpus)] * bool(gpus)
    return " · ".join(parts)


def _tiles(report: Report) -> list[Tile]:
    ran = [line for line in report.lines if line.state is JobState.DONE and line.started_at is not None]
    wall = report.wall
    frames = total(line.result.frames for line in ran)
    tiles = [
        Tile("came out", str(report.done), f"{report.before} more done before" if report.before else ""),
        Tile("did not", str(len(report.ended_badly)), f"{len(report.open)} still open" if report.open else ""),
        Tile("from first to last", words.duration(wall[1] - wall[0]) if wall else ""),
        Tile("clips an hour", f"{report.an_hour:.1f}" if report.an_hour else ""),
        Tile(
            "a clip takes",
            words.duration(middle(line.took for line in ran)),
            _if("median; the longest ", words.duration(largest(line.took for line in ran))),
        ),
        Tile(
            "GPU time",
            words.duration(total(line.gpu_seconds for line in report.lines)),
            _if("energy ", words.energy(total(line.energy for line in report.lines))),
        ),
        Tile("most GPU memory", words.size(largest(line.peak_memory for line in report.lines))),
        Tile(
            "waited in the queue",
            words.duration(middle(line.queued for line in ran)),
            _if("median; the longest ", words.duration(largest(line.queued for line in ran))),
        ),
        Tile("frames", f"{frames:,.0f}".replace(",", "\u202f") if frames else ""),
    ]
    return [tile for tile in tiles if tile.value]


def _if(before: str, text: str) -> str:
    return before + text if text else ""


def _label(name: str) -> str:
    """Shorten a name; its end is kept, because it tells clips apart better."""
    return name if len(name) <= LABEL_WIDTH else f"…{name[1 - LABEL_WIDTH :]}"


# -- charts


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar."""

    kind: str
    """A stage, or `wait`, `run`, `bad`, `open`."""
    at: float
    width: float
    title: str
    """Its tooltip."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark of an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """A clip in the timeline."""

    clip: str
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Timeline:
    """When each clip waited and ran."""

    rows: Sequence[TimelineRow]
    marks: Sequence[Mark]
    hidden: int
    """The number of clips that are not shown."""


def stacked(seconds: Mapping[str, float], whole: float) -> list[Part]:
    """A bar of stages; `whole` is the full width in seconds."""
    parts, at = [], 0.0
    for stage in STAGE_WORDS:
        if (took := seconds.get(stage)) is not None and whole > 0:
            width = took / whole * WHOLE
            parts.append(Part(stage, round(at, 2), round(width, 2), f"{STAGE_WORDS[stage]}: {words.duration(took)}"))
            at += width
    return parts


def share(value: float | None, most: float | None) -> float | None:
    """The width of a value's bar; None if it was not measured."""
    return None if value is None or not most else round(value / most * WHOLE, 2)


def timeline(report: Report) -> Timeline | None:
    """The timeline, by the wall clock; None if no clip ran."""
    ran = sorted((line for line in report.lines if line.started_at is not None), key=lambda line: line.started_at or 0)
    if not ran:
        return None
    shown = ran[-ROWS_MAX:]
    first = min(_begin(line) for line in shown)
    last = max(*(run.ended for line in shown for run in line.runs), first + 1)
    rows = [TimelineRow(line.clip, _timeline(line, first, WHOLE / (last - first))) for line in shown]
    return Timeline(rows, _marks(first, last), len(ran) - len(shown))


def _begin(line: Line) -> float:
    """The time at which it began to wait or to run."""
    begun = line.runs[0].begun
    return begun if line.queued_at is None else min(line.queued_at, begun)


def _timeline(line: Line, first: float, scale: float) -> list[Part]:
    """Its waiting time as one part, and its runs on top."""

    def part(kind: str, begun: float, ended: float, title: str) -> Part:
        return Part(kind, round((begun - first) * scale, 2), round((ended - begun) * scale, 2), title)

    begun, last = _begin(line), line.runs[-1]
    parts = [part("wait", begun, last.begun, f"waited {words.duration(line.queued)}")] if last.begun > begun else []
    for run in line.runs:
        kind = "bad" if run.lost else "run" if line.state.ended else "open"
        said = "came to nothing" if run.lost else str(line.state)
        parts.append(part(kind, run.begun, run.ended, f"{said}, {words.duration(run.ended - run.begun)}"))
    return parts


def _marks(first: float, last: float) -> list[Mark]:
    wanted = (last - first) / MARKS_MAX
    step = next((step for step in STEPS if step >= wanted), math.ceil(wanted / 86400) * 86400)
    zone = local(first).utcoffset()
    offset = zone.total_seconds() if zone else 0.0
    begin = math.ceil((first + offset) / step) * step - offset
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%d %b"  # noqa: PLR2004 - a minute, a day
    found = []
    while begin <= last:
        text = local(begin).strftime(form)
        found.append(Mark(round((begin - first) / (last - first) * WHOLE, 2), text))
        begin += step
    return found
