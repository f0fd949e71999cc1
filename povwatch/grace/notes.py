"""What the log, the journal and the error file say of a clip in its grace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.events import say
from povwatch.core.job import Job, Waiting
from povwatch.core.units import spell_duration

if TYPE_CHECKING:
    from povwatch.grace.clock import Grace
    from povwatch.grace.entry import GraceEntry
    from povwatch.journal.store import JobStore
    from povwatch.spec.error_files import ErrorFiles

NOT_BEFORE = {Waiting.HELD: "it is let go", Waiting.EDITING: "its editor is closed"}
"""After what the clock of a clip goes on that stands still."""


LOOKED_AT = "held against the clip"
"""What is said of a file that a JSON names until it is known."""


class GraceNotes:
    """Tells of gates."""

    def __init__(self, store: JobStore, error_files: ErrorFiles) -> None:
        self._store = store
        self._error_files = error_files

    def announce(self, gate: GraceEntry, job: Job) -> None:
        """Say once when the clip starts, if nobody does anything; of one that stands still `tell` says why."""
        grace, gate.announce, wanted = gate.grace, False, gate.announce
        if wanted and grace.waiting is Waiting.GRACE and grace.left > 0 and not grace.restarted:
            say("grace", job, deadline=self._deadline(grace), spec=layout.beside(job.path, job.base).spec)

    def detail(self, gate: GraceEntry, held_by: str) -> str:
        """What `jobs` and `why` say of the wait."""
        match gate.grace.waiting:
            case Waiting.INVALID_SPEC:
                return gate.problem.what if gate.problem else ""
            case Waiting.HELD:
                return held_by
            case Waiting.EDITING if gate.lock:
                return f"{layout.shown(gate.lock)} is there"
            case Waiting.GRACE if gate.looking:
                why = f"cannot be {LOOKED_AT} now: {gate.hindrance}" if gate.hindrance else f"is {LOOKED_AT} first"
                return f"the file of {gate.looking} {why}"
            case Waiting.GRACE:
                return f"starts at {self._store.clock.spell(gate.grace.seen_at + gate.grace.left)}"
            case _:
                return ""

    def tell(
        self, gate: GraceEntry, job: Job, was: Waiting | None, to: dict[str, object], *, held_by: str, first: bool
    ) -> None:
        """Change the job, and say why.

        Args:
            gate: as it is now.
            job: as the journal has it.
            was: what the gate waited on before.
            to: the job's fields that change.
            held_by: who holds it, if it is held.
            first: whether this is the first look at this JSON.
        """
        grace = gate.grace
        spec = layout.beside(job.path, job.base).spec
        deadline = self._deadline(grace)
        if grace.waiting is Waiting.INVALID_SPEC:
            assert gate.problem is not None  # noqa: S101 - that is what invalid means
            if grace.restarted or was is not Waiting.INVALID_SPEC or to["detail"] != job.detail:
                file = self._error_files.invalid(job, gate.problem)
                said = {"spec": spec, "problem": gate.problem.what, "error_file": file}
                self._store.move(job, "invalid-spec", said=said, **to)
                return
        elif grace.waiting is Waiting.HELD and was is not Waiting.HELD:
            self._store.move(job, "held", said={"by": held_by}, **to)
            return
        elif grace.waiting is Waiting.EDITING and was is not Waiting.EDITING:
            self._store.move(job, "editing", said={"spec": spec, "lock": gate.lock}, **to)
            return
        elif grace.restarted:
            self._store.move(job, "grace" if first else "edited", said={"deadline": deadline, "spec": spec}, **to)
            return
        elif was is Waiting.HELD:
            self._store.move(job, "unheld", said={"deadline": deadline}, **to)
            return
        elif was is Waiting.EDITING:
            self._store.move(job, "editor-closed", said={"spec": spec, "deadline": deadline}, **to)
            return
        if to["waiting_on"] is Waiting.PAUSED and job.waiting_on is not Waiting.PAUSED:
            self._store.move(job, "waiting", said={"waiting": "paused", "detail": to["detail"]}, **to)
        else:
            self._store.set_quietly(job, "waiting", **to)

    def _deadline(self, grace: Grace) -> str:
        """When the clip starts, in words that also fit while its clock stands still."""
        if grace.waiting in NOT_BEFORE:
            return f"{spell_duration(grace.left)} after {NOT_BEFORE[grace.waiting]}"
        return self._store.clock.spell(grace.seen_at + grace.left)
