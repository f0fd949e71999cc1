"""Reports the workers' progress and, after a failure, their last output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.events import say
from povwatch.core.machine_faults import KINDS
from povwatch.core.units import spell_duration
from povwatch.engines import eta
from povwatch.workers.events import BLOCKED
from povwatch.workers.places import LAST_WORDS, stage_of

if TYPE_CHECKING:
    from povwatch.journal.store import JobStore
    from povwatch.workers.places import Place, Run
    from povwatch.workers.protocol import Progress

LINES = 10
"""Log lines about a job: one for every tenth."""

ALMOST = 1e-9
"""Tolerance for a fraction of whole steps: 0.3 times 10 is not always 3."""

PROGRESS_EVERY = 2.0
"""Seconds between two writes of a job's progress to the journal."""


class Reports:
    """Writes to the log and the journal."""

    def __init__(self, store: JobStore, kind: str) -> None:
        self._store = store
        self._kind = kind
        self._loading: dict[int, str] = {}

    def loading(self, places: list[Place]) -> None:
        """Log the progress of loads. Workers with the same text share one line."""
        now = {number: stage_of(place) for number, place in enumerate(places)}
        for text in sorted({text for text in now.values() if text} - set(self._loading.values())):
            say("engine-load-progress", engine=self._kind, stage=text)
        self._loading = now

    def progress(self, run: Run, event: Progress, now: float) -> None:
        """Keep a job's progress, and log every tenth."""
        fraction = event.fraction
        elapsed = now - (run.generating_since or now)
        left = eta.left(fraction, elapsed, run.expected)
        run.progress, run.left = event, left
        tenth = int(fraction * LINES + ALMOST)
        if tenth > run.said and fraction < 1:
            run.said = tenth
            told = spell_duration(left) if left is not None else "unknown"
            percent = f"{int(fraction * 100 + ALMOST)}"
            say("progress", self._store.job(run.job), percent=percent, stage=event.stage, eta=told)
        if now - run.noted_at >= PROGRESS_EVERY:
            run.noted_at = now
            data = {
                "fraction": round(fraction, 4),
                "stage": event.stage,
                "chunk": event.chunk,
                "chunks": event.chunks,
                "step": event.step,
                "steps": event.steps,
                "eta": None if left is None else round(left, 1),
            }
            self._store.journal.set_progress(run.job, data, self._store.clock.wall())

    @staticmethod
    def output(place: Place, line: str) -> None:
        """Keep a line that a worker printed; the log shows it with --verbose."""
        say("engine-output", line=line)
        place.last_words.append(line)
        if place.to_tell:
            place.to_tell -= 1
            say("engine-last-words", line=place.last_words.pop())

    @staticmethod
    def last_words(place: Place, kind: str = "error") -> None:
        """Log the last output of a worker that failed: its traceback is there.

        A refusal of the machine or of the guardrail is complete in its error; then the output is only for --verbose.
        `kind` is the failure's, see JobFailed.
        """
        if kind in KINDS or kind == BLOCKED:
            place.forget_words()
            return
        place.to_tell = LAST_WORDS - len(place.last_words)
        while place.last_words:
            say("engine-last-words", line=place.last_words.popleft())
