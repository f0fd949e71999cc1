"""Unforeseen exceptions in a job's step. They cost that job an attempt, and never end the daemon."""

from __future__ import annotations

from povwatch.core.errors import AttemptFailed, JournalError, JournalFailed, PovwatchError
from povwatch.core.events import say
from povwatch.core.machine_faults import CAUSES, Cause, Place, code_of, translated


class Unforeseen(AttemptFailed):
    """A bug in povwatch itself."""


def translate_unforeseen(error: Exception, where: str, place: Place | None = None, path: str = "") -> PovwatchError:
    """Translate an exception into an error for retry.py. An unforeseen one is logged with its traceback.

    Args:
        where: the step, for people: "while it was checked".
        place: the step's row in machine_faults.TABLE. Without it, the machine is blamed only for a lack of memory,
            files or processes.
        path: the file worked on, for people.

    Raises:
        JournalFailed: the exception was one; nothing can go on without the journal.
    """
    if isinstance(error, JournalFailed):
        raise error
    if isinstance(error, PovwatchError) and not isinstance(error, JournalError):
        return error
    if place is not None and isinstance(error, OSError):
        return translated(error, place, path)
    if CAUSES.get(code_of(error) or 0) is Cause.RESOURCES:
        return translated(error, place or Place.PREPARE, path)
    problem = f"{type(error).__name__}: {error}"
    say("unforeseen", where=where, problem=problem, exc_info=error)
    return Unforeseen(
        f"povwatch itself failed {where} ({problem}).",
        "That is a bug: please report it, with the traceback in the log.",
    )
