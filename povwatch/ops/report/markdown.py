"""A report as Markdown, for an issue or a chat."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from povwatch.core.job import JobState
from povwatch.ops.report import words
from povwatch.ops.report.data import largest, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.ops.report.data import Line, Report

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~<>&$@:-])")


def as_markdown(report: Report) -> str:
    """Headline, failed clips, totals, all clips."""
    parts = [f"# {words.headline(report)}", _facts(report)]
    parts += [f"> {text(note)}" for note in report.notes]
    for title, lines in report.attention:
        if lines:
            rows = [
                [text(line.clip), str(line.state), str(line.attempts), text(line.problem), text(line.todo)]
                for line in lines
            ]
            parts += [f"## {title}", _table(["clip", "state", "attempts", "why", "what to do"], rows, right={2})]
    if report.seconds:
        parts += ["## Where the time went", _stages(report)]
    if report.lines:
        parts += ["## Clips", _clips(report.lines)]
    if report.scores:
        rows = [
            [text(line.clip), *(words.score(line, name) for name in report.scores)]
            for line in report.lines
            if line.scores or line.missing
        ]
        numbers = set(range(1, len(report.scores) + 1))
        parts += ["## Scores", _table(["clip", *map(text, report.scores)], rows, right=numbers)]
    if report.left:
        parts.append(f"Left as they are, not started: {text(words.named(list(report.left)))}.")
    parts.append(words.closing(report))
    return "\n\n".join(filter(None, parts)) + "\n"


def text(of: str) -> str:
    """Escape a text that may be another user's, for Markdown and HTML."""
    return _SPECIAL.sub(r"\\\1", of).replace("\n", " ")


def _facts(report: Report) -> str:
    wall = report.wall
    facts = [
        (
            "time",
            f"{words.moment(wall[0])} to {words.moment(wall[1])}, {words.duration(wall[1] - wall[0])}" if wall else "",
        ),
        ("GPU time", words.duration(total(line.gpu_seconds for line in report.lines))),
        ("most memory", words.size(largest(line.peak_memory for line in report.lines))),
        ("energy", words.energy(total(line.energy for line in report.lines))),
        ("clips an hour", f"{report.an_hour:.1f}" if report.an_hour else ""),
        ("made", f"{words.moment(report.made_at)} by povwatch {report.version}"),
    ]
    return "\n".join(f"- {name}: {value}" for name, value in facts if value)


def _stages(report: Report) -> str:
    whole = sum(report.seconds.values()) or 1
    rows = [
        [
            stage.name,
            words.duration(stage.seconds),
            f"{stage.seconds / whole * 100:.0f} %",
            words.duration(stage.median),
            words.duration(stage.longest),
        ]
        for stage in report.stages
    ]
    return _table(["stage", "in all", "share", "median", "longest"], rows, right={1, 2, 3, 4})


def _clips(lines: Sequence[Line]) -> str:
    rows = [
        [
            text(line.clip),
            text(words.state(line)),
            words.frames(line),
            words.rates(line),
            words.duration(line.queued),
            words.duration(line.took),
            words.duration(line.seconds.get("generate")),
            words.duration(line.gpu_seconds),
            words.size(line.peak_memory),
            text(line.output or "") if line.state is JobState.DONE else "",
        ]
        for line in lines
    ]
    head = ["clip", "state", "frames", "rate", "waited", "took", "generating", "GPU time", "memory", "output"]
    return _table(head, rows, right={2, 3, 4, 5, 6, 7, 8})


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: set[int]) -> str:
    rule = [" ---: " if column in right else " --- " for column in range(len(head))]
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(rule)}|", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines)
