"""Forecasts when queued clips will run, as far as the journal tells, for status and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.core import layout
from povwatch.core.errors import PovwatchError
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.units import spell_duration
from povwatch.engines import eta
from povwatch.journal import members
from povwatch.spec import parse
from povwatch.spec.inputs_folder import InputsFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.config.settings import Config
    from povwatch.journal import JournalReader

AHEAD_MAX = 200
"""The most queued jobs that are considered: each one's JSON is read."""


def forecast(config: Config, reader: JournalReader, active: Sequence[Job]) -> dict[int, str]:
    """Start and end of each queued job in words, if they can be foretold.

    Args:
        active: the jobs that have not ended, in the queue's order.
    """
    facts = reader.fact("daemon") or {}
    workers = facts.get("workers", [])
    if not workers or facts.get("problem") or facts.get("blocked"):
        return {}  # nobody knows when the queue goes on
    history = list(filter(None, (eta.Done.of(event.data) for event in reader.latest_events("generated", eta.KEPT))))
    busy = [_left(reader, worker) for worker in workers]
    queue = [job for job in active if job.state is JobState.QUEUED and job.waiting_on is Waiting.TURN][:AHEAD_MAX]
    folder = InputsFolder(config.paths.inputs)
    takes = [
        eta.estimate(
            history, engine=facts["engine"], gpu=workers[0].get("gpu", ""), **_size(folder, job, facts["engine"])
        )
        for job in queue
    ]
    return {
        job.id: words
        for job, (start, end) in zip(queue, eta.forecast(busy, takes), strict=True)
        if (words := _words(start, end))
    }


def _left(reader: JournalReader, worker: dict[str, Any]) -> float | None:
    """Seconds until a worker is free; None if unknown."""
    if worker["job"] is None:
        return 0.0 if worker["state"] == "ready" else None
    left = (reader.progress(worker["job"]) or {}).get("eta")
    return None if left is None else float(left)


def _size(folder: InputsFolder, job: Job, engine: str) -> dict[str, int]:
    spec: dict[str, Any] = {}
    try:
        file = folder.read_spec(layout.beside(job.path, job.base).spec)
        if file is not None:
            spec = parse(file.data, clip_name=layout.split(job.path)[1], file="").upstream()
    except (PovwatchError, OSError):  # invalid, or not readable for this user: assume the usual number of steps
        spec = {}
    return eta.size(members(job.source_info), spec, engine)


def _words(start: float | None, end: float | None) -> str:
    if start is None:
        return ""
    begins = f"starts in about {spell_duration(start)}" if start >= 1 else "starts now"
    return begins if end is None else f"{begins}, generated in about {spell_duration(end)}"
