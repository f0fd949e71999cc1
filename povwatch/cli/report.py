"""povwatch report: what was done, how long it took, what failed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from povwatch.cli.app import app, console, plain, shared
from povwatch.job import Job, JobState
from povwatch.layout import shown
from povwatch.manifest import peak_memory
from povwatch.units import spell_duration, spell_size

if TYPE_CHECKING:
    from povwatch.journal import JournalReader

REST = ("prepare", "finish", "check")
"""The stages that need no GPU."""

FAILED = (JobState.FAILED, JobState.BLOCKED, JobState.REJECTED)


@app.command()
def report(context: typer.Context) -> None:
    """Tell what was done: times, GPU seconds, memory, failures."""
    with shared(context).reader() as reader:
        done = [job for job in reader.jobs(JobState.DONE) if job.run_id]
        failed = [job for state in FAILED for job in reader.jobs(state)]
        if done:
            console.print(_done(done, reader))
        if failed:
            console.print()
            console.print(_failed(failed))
        generating = sum(_seconds(job).get("generate", 0.0) for job in done)
        console.print()
        console.print(f"{len(done)} done, {len(failed)} not done; {spell_duration(generating)} of generating in all.")


def _done(found: list[Job], reader: JournalReader) -> Table:
    table = Table("clip", "frames", "waited", "generated", "the rest", "memory", "output", box=None)
    for column in (0, 6):
        table.columns[column].overflow = "fold"
    for job in found:
        seconds = _seconds(job)
        kept = json.loads(job.artifact or "{}")
        started = [event.at for event in reader.events(job.id) if event.event == "started"]
        memory = peak_memory(kept.get("artifact", {}), kept.get("gpu", {}))
        table.add_row(
            plain(shown(job.path)),
            str(json.loads(job.source_info or "{}").get("frames", "")),
            spell_duration(started[-1] - job.created_at) if started else "",
            spell_duration(seconds["generate"]) if "generate" in seconds else "",
            spell_duration(sum(seconds.get(stage, 0.0) for stage in REST)),
            spell_size(memory) if memory else "",
            plain(job.output or ""),
        )
    return table


def _failed(found: list[Job]) -> Table:
    table = Table("clip", "state", "attempts", "why, and what to do", box=None)
    for job in found:
        table.add_row(plain(shown(job.path)), str(job.state), str(job.attempts), plain(job.error or job.detail))
    return table


def _seconds(job: Job) -> dict[str, float]:
    return dict(json.loads(job.artifact or "{}").get("seconds", {}))
