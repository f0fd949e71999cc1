"""What nobody foresaw: an exception in the midst of a job's way. It costs that job an attempt, never the daemon."""

from __future__ import annotations

from povwatch.core.errors import AttemptFailed, JournalError, JournalFailed, PovwatchError
from povwatch.core.events import say
from povwatch.core.machine_faults import CAUSES, Cause, Place, code_of, translated


class Unforeseen(AttemptFailed):
    """A fault in povwatch itself."""


def in_words(error: Exception, where: str, place: Place | None = None, path: str = "") -> PovwatchError:
    """The error for retry.py that an exception means; of one that nobody foresaw the log gets the traceback.

    Args:
        error: what was raised.
        where: what was being done: "while it was checked".
        place: where that is in machine_faults.TABLE; left out, only a machine that lacks memory, files or processes
            is taken for the cause.
        path: what it worked on, for people.

    Raises:
        JournalFailed: that is what it was; without its journal nothing can go on.
    """
    if isinstance(error, JournalFailed):
        raise error
    if isinstance(error, PovwatchError) and not isinstance(error, JournalError):
        return error
    if place is not None and isinstance(error, OSError):
        return translated(error, place, path)
    if CAUSES.get(code_of(error) or 0) is Cause.MEANS:
        return translated(error, place or Place.PREPARE, path)
    problem = f"{type(error).__name__}: {error}"
    say("unforeseen", where=where, problem=problem, exc_info=error)
    return Unforeseen(
        f"povwatch itself failed {where} ({problem}).",
        "That is a bug: please report it, with the traceback in the log.",
    )
