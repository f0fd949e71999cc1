"""Where each part of the pictures goes. Pure; the template draws it.

Widths and places are in thousandths of a picture's width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from povwatch.job import JobState
from povwatch.report import words
from povwatch.report.data import STAGE_WORDS, STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from povwatch.report.data import Line, Report

WHOLE = 1000.0

STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Seconds between two marks of a time axis; days beyond that."""

MARKS_MAX = 9
"""On a time axis."""

ROWS_MAX = 150
"""Of the picture over time: a longer one cannot be read."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar."""

    kind: str
    """A stage, or `wait`, `run`, `bad`."""
    at: float
    width: float
    title: str
    """What a pointer over it is told."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark of an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """A clip in the picture over time."""

    clip: str
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class OverTime:
    """When each clip waited and ran."""

    rows: Sequence[Row]
    marks: Sequence[Mark]
    hidden: int
    """Clips that there was no room for."""


def stacked(seconds: Mapping[str, float], whole: float) -> list[Part]:
    """A bar of stages; `whole` seconds are its full width."""
    parts, at = [], 0.0
    for stage in STAGES:
        if (took := seconds.get(stage)) is not None and whole > 0:
            width = took / whole * WHOLE
            parts.append(Part(stage, round(at, 2), round(width, 2), f"{STAGE_WORDS[stage]}: {words.duration(took)}"))
            at += width
    return parts


def share(value: float | None, most: float | None) -> float | None:
    """How wide the bar of one value is; None for one that was not measured."""
    return None if value is None or not most else round(value / most * WHOLE, 2)


def over_time(report: Report) -> OverTime | None:
    """When each clip waited and ran, by the wall clock; None where nothing ran."""
    ran = sorted((line for line in report.lines if line.started_at is not None), key=lambda line: line.started_at or 0)
    if not ran:
        return None
    shown = ran[-ROWS_MAX:]
    spans = [_span(line, report.made_at) for line in shown]
    first = min(span[0] for span in spans)
    last = max(*(span[2] for span in spans), first + 1)
    scale = WHOLE / (last - first)
    rows = []
    for line, (queued, started, ended) in zip(shown, spans, strict=True):
        parts = []
        if started > queued:
            told = f"waited {words.duration(started - queued)}"
            parts.append(Part("wait", round((queued - first) * scale, 2), round((started - queued) * scale, 2), told))
        kind = "run" if line.state is JobState.DONE else "bad" if line.state.ended else "open"
        told = f"{line.state}, {words.moment(started)}, {words.duration(ended - started)}"
        parts.append(Part(kind, round((started - first) * scale, 2), round((ended - started) * scale, 2), told))
        rows.append(Row(line.clip, parts))
    return OverTime(rows, _marks(first, last), len(ran) - len(shown))


def _span(line: Line, now: float) -> tuple[float, float, float]:
    """When it was queued, started and ended. Waits after the first start are part of the run."""
    assert line.started_at is not None  # noqa: S101 - the caller looked
    ended = max(line.ended_at or now, line.started_at)
    before = min(line.queued or 0.0, max(0.0, line.started_at - (line.seen_at or line.started_at)))
    return line.started_at - before, line.started_at, ended


def _marks(first: float, last: float) -> list[Mark]:
    wanted = (last - first) / MARKS_MAX
    step = next((step for step in STEPS if step >= wanted), math.ceil(wanted / 86400) * 86400)
    zone = datetime.fromtimestamp(first).astimezone().utcoffset()
    offset = zone.total_seconds() if zone else 0.0
    begin = math.ceil((first + offset) / step) * step - offset
    form = "%H:%M:%S" if step < 60 else "%H:%M" if step < 86400 else "%d %b"  # noqa: PLR2004 - a minute, a day
    found = []
    while begin <= last:
        text = datetime.fromtimestamp(begin).astimezone().strftime(form)
        found.append(Mark(round((begin - first) / (last - first) * WHOLE, 2), text))
        begin += step
    return found
