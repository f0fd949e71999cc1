"""Computes the layout of the charts, which the template draws. Pure.

Widths and positions are in thousandths of a chart's width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core.local_time import local
from povwatch.ops.report import words
from povwatch.ops.report.data import STAGE_WORDS, STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from povwatch.ops.report.data import Line, Report

WHOLE = 1000.0

STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Possible seconds between two marks of a time axis; beyond these, days."""

MARKS_MAX = 9
"""The most marks of a time axis."""

ROWS_MAX = 150
"""The most rows of the timeline."""


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
class Row:
    """A clip in the timeline."""

    clip: str
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class OverTime:
    """A timeline: when each clip waited and ran."""

    rows: Sequence[Row]
    marks: Sequence[Mark]
    hidden: int
    """The number of clips that are not shown."""


def stacked(seconds: Mapping[str, float], whole: float) -> list[Part]:
    """A bar of stages; `whole` is the full width in seconds."""
    parts, at = [], 0.0
    for stage in STAGES:
        if (took := seconds.get(stage)) is not None and whole > 0:
            width = took / whole * WHOLE
            parts.append(Part(stage, round(at, 2), round(width, 2), f"{STAGE_WORDS[stage]}: {words.duration(took)}"))
            at += width
    return parts


def share(value: float | None, most: float | None) -> float | None:
    """The width of a value's bar; None if it was not measured."""
    return None if value is None or not most else round(value / most * WHOLE, 2)


def over_time(report: Report) -> OverTime | None:
    """The timeline, by the wall clock; None if no clip ran."""
    ran = sorted((line for line in report.lines if line.started_at is not None), key=lambda line: line.started_at or 0)
    if not ran:
        return None
    shown = ran[-ROWS_MAX:]
    first = min(_begin(line) for line in shown)
    last = max(*(run.ended for line in shown for run in line.runs), first + 1)
    rows = [Row(line.clip, _over_time(line, first, WHOLE / (last - first))) for line in shown]
    return OverTime(rows, _marks(first, last), len(ran) - len(shown))


def _begin(line: Line) -> float:
    """The time at which it began to wait or to run."""
    begun = line.runs[0].begun
    return begun if line.queued_at is None else min(line.queued_at, begun)


def _over_time(line: Line, first: float, scale: float) -> list[Part]:
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
