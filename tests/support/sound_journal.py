"""Checks any journal of a daemon that has ended. Each violation is a sentence."""

from __future__ import annotations

import sqlite3
from itertools import groupby
from typing import TYPE_CHECKING

from povwatch.core.job import ENDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ATTEMPT = frozenset({"started", "generated", "checked"})
"""The events that never follow a promise."""


def violations(db: sqlite3.Connection) -> Iterator[str]:
    """Check the file, and that every job's history is continuous.

    Args:
        db: its row factory is changed.
    """
    db.row_factory = sqlite3.Row
    for pragma in ("integrity_check", "foreign_key_check"):
        found = [tuple(row) for row in db.execute(f"PRAGMA {pragma}")]
        if found not in ([], [("ok",)]):
            yield f"{pragma}: {found}"
    events = db.execute("SELECT * FROM job_events ORDER BY job, id")
    for job, history in groupby(events, lambda event: event["job"]):
        yield from (f"job {job}: {said}" for said in _history(history))


def _history(events: Iterator[sqlite3.Row]) -> Iterator[str]:
    state, promised = None, False
    for event in events:
        if event["was"] != state:
            yield f"the history has a gap: {event['event']} came from {event['was']}, not {state}"
        if state in ENDS and event["state"] != state:
            yield f"an end was not final: {event['event']} after {state}"
        if promised and event["event"] in ATTEMPT:
            yield f"{event['event']} after the promise"
        state = event["state"]
        promised = promised or event["event"] == "checked"
