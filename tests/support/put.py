"""Jobs put into any state that a test wants them in, by the same two functions as production changes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from povwatch.core.changes import Change

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.core.job import Job
    from povwatch.journal import Journal
    from povwatch.journal.store import JobStore


@dataclass(frozen=True, kw_only=True)
class Put(Change):
    """Whatever fields a test sets."""

    event: ClassVar[str] = "waiting"
    what: str
    told: Mapping[str, Any]
    to: Mapping[str, Any]

    def name(self) -> str:
        return self.what

    def after(self, job: Job) -> Job:
        return replace(job, **self.to)

    def log_fields(self) -> Mapping[str, Any]:
        return self.told


@dataclass(frozen=True, kw_only=True)
class QuietPut(Put):
    """The same, unsaid."""

    logged: ClassVar[bool] = False


def put(store: JobStore, job: Job, event: str = "waiting", *, said: Mapping[str, Any] | None = None, **to: Any) -> Job:
    """A job with other fields; logged if there is something to say of it."""
    return store.apply(job, (QuietPut if said is None else Put)(what=event, told=said or {}, to=to))


def advance(
    journal: Journal, job: Job, event: str, now: float, *, data: Mapping[str, Any] | None = None, **to: Any
) -> Job:
    """The same in the journal alone."""
    return journal.advance(job, replace(job, **to), event, now, data)
