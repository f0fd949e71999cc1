"""Puts jobs into any state, with the two functions that production uses."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from povwatch.core.changes import Change

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.core.job import Job
    from povwatch.journal import Journal
    from povwatch.journal.store import JobStore


class Put(Change, event="waiting"):
    """A change of any fields."""

    what: str
    told: Mapping[str, Any]
    to: Mapping[str, Any]

    def name(self) -> str:
        return self.what

    def applied_to(self, job: Job) -> Job:
        return replace(job, **self.to)

    def log_fields(self) -> Mapping[str, Any]:
        return self.told


class QuietPut(Put, logged=False):
    """The same without a log line."""


def put(store: JobStore, job: Job, event: str = "waiting", *, said: Mapping[str, Any] | None = None, **to: Any) -> Job:
    """Change a job's fields; logged if there is something to say."""
    return store.apply(job, (QuietPut if said is None else Put)(what=event, told=said or {}, to=to))


def advance(
    journal: Journal, job: Job, event: str, now: float, *, data: Mapping[str, Any] | None = None, **to: Any
) -> Job:
    """The same in the journal only."""
    return journal.advance(job, replace(job, **to), event, now, data)
