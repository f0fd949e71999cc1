"""A worker's place, the attempt in it, and why the queue may stand still."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from povwatch.daemon.workpiece import Workpiece
    from povwatch.engine.supervisor import Supervisor
    from povwatch.job import Waiting

LAST_WORDS = 30
"""Lines of a worker's output that are kept for when it fails: a traceback and what stands before it."""


@dataclass(slots=True)
class Run:
    """An attempt under way at a worker."""

    job: int
    run_id: str
    piece: Workpiece
    started: float
    generating_since: float | None = None
    said: float = 0.0
    """The fraction that the log was told last."""
    noted_at: float = 0.0
    """When the journal was told last."""
    cancel: str | None = None
    """Why it is to be cancelled, if it is."""


@dataclass(slots=True)
class Place:
    """A worker and the attempt that it has, or waits for."""

    supervisor: Supervisor
    run: Run | None = None
    last_words: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_WORDS))
    """What the worker printed last, and nobody was told."""
    to_tell: int = 0
    """Lines that are still to be told: it failed, and what it printed may come after the word of that."""

    def forget_words(self) -> None:
        """What was printed so far says nothing about what comes."""
        self.last_words.clear()
        self.to_tell = 0


@dataclass(frozen=True, slots=True)
class Hurdle:
    """Why no job may start at present."""

    waiting: Waiting
    problem: str
    """As sentences."""
    until: float = float("inf")
    """On the boot clock."""
