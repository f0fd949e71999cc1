"""Finds idle workers while work waited, from the journal's events and the log."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job, in seconds since the epoch."""

    job: int
    worker: int
    on: str
    """The UUIDs of the worker's GPUs."""
    start: float
    """When it was claimed."""
    begun: float
    """When the engine got it; for a failed attempt, when it was claimed."""
    end: float
    generated: bool


@dataclass(frozen=True, slots=True)
class Gap:
    """The time from a worker's last job to its next attempt."""

    worker: int
    free: float
    start: float
    waited: float
    """Seconds of it in which a job waited for its first turn, until the engine got the next one."""
    passed_over: bool
    """Whether another worker got two jobs meanwhile."""


def attempts(state: Path) -> list[Attempt]:
    """Every attempt that ended, in the order of their starts."""
    under_way: dict[int, dict[str, Any]] = {}
    found = []
    for row in _events(state):
        data = json.loads(row["data"])
        if row["event"] == "started":
            under_way[row["job"]] = {"worker": data["worker"], "on": data["on"], "start": row["at"]}
        elif row["was"] == "running" and row["state"] != "running":
            begun = under_way.pop(row["job"])
            generated = row["event"] == "generated"
            took = (data.get("learned") or {}).get("seconds", 0.0) if generated else row["at"] - begun["start"]
            found.append(Attempt(row["job"], **begun, begun=row["at"] - took, end=row["at"], generated=generated))
    return sorted(found, key=lambda attempt: attempt.start)


def gaps(state: Path, log: Iterable[dict[str, Any]]) -> list[Gap]:
    """Every gap between two jobs of a worker. `state` is the journal's folder, `log` the daemon's log lines."""
    made = attempts(state)
    free = [(attempt.end, attempt.worker) for attempt in made if attempt.generated]
    free += [(_moment(line), line["worker"]) for line in log if line.get("event") == "engine-ready"]
    waiting = _waiting(state)
    found = []
    for at, worker in free:
        following = next((a for a in made if a.worker == worker and a.start >= at), None)
        if following is None or any(at < other < following.start for other, who in free if who == worker):
            continue  # it was not free all the time: it died meanwhile
        others = [a.worker for a in made if a.worker != worker and at < a.start < following.start]
        waited = sum(max(0.0, min(following.begun, end) - max(at, begin)) for begin, end in waiting)
        found.append(Gap(worker, at, following.start, waited, passed_over=len(set(others)) < len(others)))
    return found


def _waiting(state: Path) -> list[tuple[float, float]]:
    """The intervals in which a job waited for its first turn; they do not overlap."""
    queued: dict[int, float] = {}
    spans = []
    for row in _events(state):
        if row["event"] == "queued":
            queued.setdefault(row["job"], row["at"])
        elif row["event"] == "started" and (since := queued.pop(row["job"], None)):
            spans.append((since, row["at"]))
    whole: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if whole and begin <= whole[-1][1]:
            whole[-1] = (whole[-1][0], max(whole[-1][1], end))
        else:
            whole.append((begin, end))
    return whole


def _events(state: Path) -> list[sqlite3.Row]:
    database = sqlite3.connect(f"file:{state / 'journal.sqlite3'}?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    try:
        return database.execute("SELECT * FROM job_events ORDER BY id").fetchall()
    finally:
        database.close()


def _moment(line: dict[str, Any]) -> float:
    return datetime.fromisoformat(line["timestamp"]).timestamp()
