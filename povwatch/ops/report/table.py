"""A report on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Group
from rich.markup import escape

from povwatch.core.job import JobState
from povwatch.core.scores import KEPT
from povwatch.ops.report import words
from povwatch.ops.report.data import largest, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from povwatch.ops.report.data import Line, Report

ROWS_MAX = 200
"""The most finished clips that are shown; the other formats show all."""

CLIP_MAX = 40
"""The width to which clips' names are padded, so that the next columns line up."""


def table(report: Report) -> RenderableType:
    """Finished clips, failed clips, and totals."""
    parts: list[RenderableType] = []
    done = [line for line in report.lines if line.state is JobState.DONE]
    if done:
        parts += [*_done(report), ""]
        if len(done) > ROWS_MAX:
            parts[-1:] = [f"... and {len(done) - ROWS_MAX} more: --report FILE.html has all of them.", ""]
    if report.scores:
        parts += [*_scores(report), ""]
    for title, lines in report.attention:
        if lines:
            parts += [*_attention(title, lines), ""]
    if report.left:
        parts.append(escape(f"Left as they are, not started: {words.named(list(report.left))}."))
    parts += [f"[yellow]{escape(note)}[/yellow]" for note in report.notes]
    parts.append(words.closing(report))
    return Group(*parts)


def _done(report: Report) -> list[str]:
    """Finished clips, a line each. A table would break long paths."""
    gpu = any(line.gpu_seconds is not None for line in report.lines)
    memory = any(line.peak_memory is not None for line in report.lines)
    rows = [["clip", "frames", "waited", "generated", "the rest", *["GPU time"] * gpu, *["memory"] * memory, "output"]]
    for line in [line for line in report.lines if line.state is JobState.DONE][:ROWS_MAX]:
        generated = line.seconds.get("generate")
        rest = total(seconds for stage, seconds in line.seconds.items() if stage != "generate")
        cells = [words.frames(line), words.duration(line.queued), words.duration(generated), words.duration(rest)]
        cells += [words.duration(line.gpu_seconds)] * gpu + [words.size(line.peak_memory)] * memory
        rows.append([line.clip, *cells, line.output or ""])
    sums = report.seconds
    rest = total(seconds for stage, seconds in sums.items() if stage != "generate")
    cells = ["", words.duration(largest(line.queued for line in report.lines)), words.duration(sums.get("generate"))]
    cells.append(words.duration(rest))
    cells += [words.duration(total(line.gpu_seconds for line in report.lines))] * gpu
    cells += [words.size(largest(line.peak_memory for line in report.lines))] * memory
    rows.append(["all, or the most", *cells, ""])
    head, *lines, all_of_it = map(escape, _in_columns(rows))
    return [f"[bold]{head}[/bold]", *lines, f"[dim]{all_of_it}[/dim]"]


def _scores(report: Report) -> list[str]:
    """The scores of finished clips, a line each; those inside what is kept are in the other forms."""
    names = [name for name in report.scores if not name.endswith(KEPT)]
    done = [line for line in report.lines if line.state is JobState.DONE and (line.scores or line.missing)]
    rows = [["scores", *names, ""], *([line.clip, *(words.score(line, n) for n in names), ""] for line in done)]
    head, *lines = map(escape, _in_columns(rows[: ROWS_MAX + 1]))
    return [f"[bold]{head}[/bold]", *lines]


def _in_columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of a clip, numbers and a path. A long name shifts only its own line."""
    wide = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    wide[0] = min(wide[0], CLIP_MAX)
    return [
        "  ".join(
            [
                clip + " " * (wide[0] - cell_len(clip)),
                *(" " * (width - cell_len(number)) + number for number, width in zip(numbers, wide[1:-1], strict=True)),
                output,
            ]
        ).rstrip()
        for clip, *numbers, output in rows
    ]


def _attention(title: str, lines: Sequence[Line]) -> list[str]:
    """What to do about some clips, a line each. A table would break commands."""
    states = [_state(line) for line in lines]
    width = min(max(cell_len(line.clip) for line in lines), CLIP_MAX)
    text = [f"[bold]{title}[/bold]"]
    for line, state in zip(lines, states, strict=True):
        clip = line.clip + " " * (width - cell_len(line.clip))
        why = " ".join(filter(None, (line.problem, line.todo)))
        text.append(escape(f"{clip}  {state:<{max(map(len, states))}}  {why}"))
    return text


def _state(line: Line) -> str:
    tried = f", {line.attempts} attempt{'s' * (line.attempts > 1)}" if line.attempts else ""
    return f"{line.state}{tried}"
