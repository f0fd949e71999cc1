"""`povwatch clean` beside a running daemon.

Background threads list and remove files; the loop's thread asks the journal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.unforeseen import in_words as as_ours
from povwatch.ops.cleaning import Cleaning, in_words
from povwatch.service.requests import Answer

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from povwatch.config.settings import Config
    from povwatch.core.background import Background
    from povwatch.journal.store import JobStore
    from povwatch.ops.cleaning import Left
    from povwatch.service.requests import Request


class Cleaner:
    """Serves one clean request at a time."""

    def __init__(self, config: Config, store: JobStore, background: Background) -> None:
        self._cleaning = Cleaning(config)
        self._store = store
        self._background = background

    def clean(self, request: Request, answer: Callable[[Answer], None]) -> None:
        """Begin to clean; calls `answer` at the end. Ignores a request while another one, or itself, is served."""
        if self._background.busy("clean"):
            return

        def judge(outcome: list[Left] | Exception) -> None:
            if isinstance(outcome, Exception):
                answer(_failed(outcome))
                return
            found = self._cleaning.judge(outcome, self._store.journal)
            if request.options.get("dry_run"):
                answer(_answer(found, [], dry=True))
            else:
                self._background.submit("clean", lambda kept: end(found, kept), _remove, self._cleaning, found)

        def end(found: list[Left], kept: list[Left] | Exception) -> None:
            answer(_failed(kept) if isinstance(kept, Exception) else _answer(found, kept, dry=False))

        now = self._store.clock.wall()
        self._background.submit("clean", judge, _look, self._cleaning, now)


def _look(_: threading.Event, cleaning: Cleaning, now: float) -> list[Left]:
    return cleaning.look(now)


def _remove(_: threading.Event, cleaning: Cleaning, found: list[Left]) -> list[Left]:
    return cleaning.remove(found)


def _answer(found: list[Left], kept: list[Left], *, dry: bool) -> Answer:
    text, lines = in_words(found, kept, dry=dry)
    return Answer(not kept, text, tuple(lines))


def _failed(error: Exception) -> Answer:
    return Answer(done=False, text=str(as_ours(error, "while it cleaned")))
