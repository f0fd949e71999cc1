"""A report as one HTML file, without network, scripts or fonts.

The template engine escapes all texts. In addition, the page's policy forbids the browser to load or run anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from povwatch.core.job import JobState
from povwatch.ops.report import charts, words
from povwatch.ops.report.data import STAGE_WORDS, largest, middle, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.ops.report.charts import Part
    from povwatch.ops.report.data import Line, Report

LABEL_WIDTH = 26
"""Characters of a clip's name beside the timeline."""


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
            charts.stacked(line.seconds, longest),
            charts.share(line.peak_memory, memory),
            charts.share(line.queued, wait),
        )
        for line in lines
    ]
    sums = report.seconds
    return environment.get_template("page.html.j2").render(
        report=report,
        words=words,
        headline=words.headline(report),
        good=not any(lines for _, lines in report.told) and bool(report.lines),
        tiles=_tiles(report),
        subtitle=_subtitle(report),
        rows=rows,
        gpu=any(line.gpu_seconds is not None for line in lines),
        memory=memory is not None,
        whole=charts.stacked(sums, sum(sums.values())),
        stages=[_stage(report, name, seconds) for name, seconds in sums.items()],
        over_time=charts.over_time(report),
        label=_label,
    )


def _order(line: Line) -> tuple[int, float]:
    """Failed clips first, then open ones, then the rest in the order of their runs."""
    rank = 0 if line.not_out else 1 if line.open else 2
    return rank, line.started_at or line.seen_at or 0.0


def _kind(line: Line) -> str:
    if line.state is JobState.DONE:
        return "done"
    if line.not_out:
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
        Tile("did not", str(len(report.not_out)), f"{len(report.open)} still open" if report.open else ""),
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


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of all clips together."""

    kind: str
    name: str
    seconds: str
    share: str
    median: str
    longest: str


def _stage(report: Report, name: str, seconds: float) -> Stage:
    whole = sum(report.seconds.values()) or 1.0
    found = report.stage(name)
    return Stage(
        kind=name,
        name=STAGE_WORDS[name],
        seconds=words.duration(seconds),
        share=f"{seconds / whole * 100:.1f} %",
        median=words.duration(middle(found)),
        longest=words.duration(largest(found)),
    )


def _label(name: str) -> str:
    """Shorten a name; its end is kept, because it tells clips apart better."""
    return name if len(name) <= LABEL_WIDTH else f"…{name[1 - LABEL_WIDTH :]}"
