"""What the log, the journal and the error file say of a clip in its grace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.changes import GraceLooked, GraceNews
from povwatch.core.events import say
from povwatch.core.job import Job, Waiting
from povwatch.core.units import spell_duration

if TYPE_CHECKING:
    from povwatch.grace.clock import Grace
    from povwatch.grace.entry import GraceEntry
    from povwatch.journal.store import JobStore
    from povwatch.spec.error_files import ErrorFiles

NOT_BEFORE = {Waiting.HELD: "it is let go", Waiting.EDITING: "its editor is closed"}
"""What has to happen before a stopped clock goes on."""


class GraceNotes:
    """Tells of the grace stage's entries."""

    def __init__(self, store: JobStore, error_files: ErrorFiles) -> None:
        self._store = store
        self._error_files = error_files

    def announce(self, entry: GraceEntry, job: Job) -> None:
        """Log once when the clip starts if nobody does anything. If its clock is stopped, `tell` says why instead."""
        grace, entry.announce, wanted = entry.grace, False, entry.announce
        if wanted and grace.waiting is Waiting.GRACE and grace.left > 0 and not grace.restarted:
            say("grace", job, deadline=self._deadline(grace), spec=layout.beside(job.path, job.base).spec)

    def detail(self, entry: GraceEntry, held_by: str) -> str:
        """What `jobs` and `why` say of the wait."""
        match entry.grace.waiting:
            case Waiting.INVALID_SPEC:
                return entry.problem.what if entry.problem else ""
            case Waiting.HELD:
                return held_by
            case Waiting.EDITING if entry.lock:
                return f"{layout.shown(entry.lock)} is there"
            case Waiting.GRACE if entry.looking:
                held = "held against the clip"
                why = f"cannot be {held} now: {entry.hindrance}" if entry.hindrance else f"is {held} first"
                return f"the file of {entry.looking} {why}"
            case Waiting.GRACE:
                return f"starts at {self._store.clock.spell(entry.grace.seen_at + entry.grace.left)}"
            case _:
                return ""

    def tell(
        self, entry: GraceEntry, job: Job, was: Waiting | None, found: GraceLooked, *, held_by: str, first: bool
    ) -> None:
        """Change the job, and log why.

        Args:
            entry: as it is now.
            job: as the journal has it.
            was: what the entry waited on before.
            found: the change.
            held_by: who holds it, if it is held.
            first: whether this was the first look at this JSON.
        """
        event, fields = self._event(entry, job, was, found, held_by=held_by, first=first)
        if not event:
            self._store.apply(job, found)
            return
        news = GraceNews(
            what=event,
            fields=fields,
            waiting=found.waiting,
            detail=found.detail,
            spec_digest=found.spec_digest,
            grace_left=found.grace_left,
            invalid=found.invalid,
            now=found.now,
        )
        self._store.apply(job, news)

    def _event(
        self, entry: GraceEntry, job: Job, was: Waiting | None, found: GraceLooked, *, held_by: str, first: bool
    ) -> tuple[str, dict[str, object]]:
        """The event to log, and its fields; an empty name if there is no news."""
        grace = entry.grace
        spec = layout.beside(job.path, job.base).spec
        deadline = self._deadline(grace)
        event: tuple[str, dict[str, object]] = ("", {})
        if grace.waiting is Waiting.INVALID_SPEC:
            assert entry.problem is not None  # noqa: S101 - that is what invalid means
            if grace.restarted or was is not Waiting.INVALID_SPEC or found.detail != job.detail:
                file = self._error_files.invalid(job, entry.problem)
                event = "invalid-spec", {"spec": spec, "problem": entry.problem.what, "error_file": file}
        elif grace.waiting is Waiting.HELD and was is not Waiting.HELD:
            event = "held", {"by": held_by}
        elif grace.waiting is Waiting.EDITING and was is not Waiting.EDITING:
            event = "editing", {"spec": spec, "lock": entry.lock}
        elif grace.restarted:
            event = "grace" if first else "edited", {"deadline": deadline, "spec": spec}
        elif was is Waiting.HELD:
            event = "unheld", {"deadline": deadline}
        elif was is Waiting.EDITING:
            event = "editor-closed", {"spec": spec, "deadline": deadline}
        if not event[0] and found.waiting is Waiting.PAUSED and job.waiting_on is not Waiting.PAUSED:
            event = "waiting", {"waiting": "paused", "detail": found.detail}
        return event

    def _deadline(self, grace: Grace) -> str:
        """When the clip starts, in words that also fit a stopped clock."""
        if grace.waiting in NOT_BEFORE:
            return f"{spell_duration(grace.left)} after {NOT_BEFORE[grace.waiting]}"
        return self._store.clock.spell(grace.seen_at + grace.left)
