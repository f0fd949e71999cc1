"""What every journal has to look like, whatever happened to the daemon. Each violation is one sentence."""

from __future__ import annotations

import sqlite3
from itertools import groupby
from typing import TYPE_CHECKING

from povwatch.core.job import ENDS

if TYPE_CHECKING:
    from collections.abc import Iterator

ATTEMPT = frozenset({"started", "generated", "checked"})
"""What never follows a promise."""


def violations(db: sqlite3.Connection) -> Iterator[str]:
    """The file is whole, and every job's history goes on from where it was.

    Args:
        db: of a daemon that has ended; its rows come by name from here on.
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
