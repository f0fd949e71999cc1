"""Handles unforeseen exceptions. One in a job's step costs that job; one elsewhere costs its part of the app one turn.

1. A job whose step raised is released: the step is tried again after a pause of 2, 4, 8 ... 60 s.
2. The job is given up at the third time in one state, or at the third start in a row that could not recover it.
3. A part that raised is left alone for such a pause, so that the log is not flooded; the others go on.
4. A failed journal ends the daemon, since nothing may go on without it: see `translate_unforeseen`. A full disk
   of the journal raises nothing: see journal_wait.py.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from povwatch.core.background import JobWork
from povwatch.core.errors import EnvironmentFault
from povwatch.core.events import say
from povwatch.core.retry import backoff
from povwatch.core.stage import Mishap
from povwatch.core.unforeseen import translate_unforeseen
from povwatch.journal import StaleJobError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from typing import Any

    from povwatch.core.errors import PovwatchError
    from povwatch.core.job import JobState
    from povwatch.journal.store import JobStore

GIVEN_UP_AT = 3
"""A job is given up after so many failures in one state, or at so many starts in a row."""


class Mishaps:
    """Counts unforeseen exceptions, and lets the rest of povwatch go on."""

    def __init__(self, store: JobStore) -> None:
        self._clock = store.clock
        self._store = store
        self._times: Counter[tuple[int, JobState]] = Counter()
        self._waiting: dict[Hashable, tuple[float, int, str, Callable[[], None]]] = {}
        """Steps to repeat: when, how often they failed, what they are, and the step."""
        self._parts: dict[str, tuple[float, int]] = {}
        """Parts that failed: until when they are left alone, and how often in a row they failed."""

    def charge(self, job_id: int, step: str, error: Exception) -> None:
        """Handle an exception of a job's step: the job is released, or given up.

        Args:
            job_id: the job's number.
            step: for people, in the past tense: "claimed".

        Raises:
            JournalFailed: the exception was one.
        """
        if isinstance(error, StaleJobError) and self._store.job(job_id) == self._store.reread(job_id):
            say("outcome-late", problem=str(error))  # nothing changed: the job has gone on without that work
            return
        found = translate_unforeseen(error, f"while it {step} job {job_id}")
        self.repeat(
            ("job", job_id),
            f"released or gave up job {job_id}",
            partial(self._release_or_give_up, job_id, found),
        )

    def work_failed(self, key: Hashable, error: Exception) -> None:
        """Handle an exception of what handles the result of work in the background.

        Raises:
            JournalFailed: the exception was one.
        """
        if isinstance(key, JobWork):
            self.charge(key.job_id, key.step, error)
        else:
            translate_unforeseen(error, f"while it handled the result of the work {key!r}")

    def repeat(self, key: Hashable, what: str, step: Callable[[], None], *, times: int = 0) -> None:
        """Take a step, and take it again after a pause as long as it fails.

        Args:
            key: one step is repeated under each key.
            what: for people, in the past tense: "released job 12".
            step: what may raise.
            times: how often it has failed.
        """
        try:
            step()
        except Exception as error:  # noqa: BLE001 - whatever it is
            translate_unforeseen(error, f"while it {what}")
            self._waiting[key] = (self._clock.boot() + backoff(times + 1), times + 1, what, step)

    def tried(self, part: str, step: Callable[..., Any], *given: object, **named: object) -> bool:
        """Let a part take a step; whether it succeeded.

        Args:
            part: its name, for people.
            step: called with the further arguments.
            given: for `step`.
            named: for `step`.

        Raises:
            JournalFailed: the journal failed.
        """
        until, times = self._parts.get(part, (0.0, 0))
        if self._clock.boot() < until:
            return False
        try:
            step(*given, **named)
        except Exception as error:  # noqa: BLE001 - whatever it is
            translate_unforeseen(error, f"in its part {part}")
            self._parts[part] = (self._clock.boot() + backoff(times + 1), times + 1)
            return False
        self._parts.pop(part, None)
        return True

    def tick(self, now: float) -> None:
        """Repeat the steps that are due."""
        for key in [key for key, (when, *_) in self._waiting.items() if when <= now]:
            _, times, what, step = self._waiting.pop(key)
            self.repeat(key, what, step, times=times)

    def next_deadline(self) -> float | None:
        """When `tick` has something to do, or a part may try again."""
        return min(self._deadlines(), default=None)

    def _deadlines(self) -> Iterator[float]:
        yield from (when for when, *_ in self._waiting.values())
        yield from (until for until, _ in self._parts.values())

    def _release_or_give_up(self, job_id: int, found: PovwatchError) -> None:
        job = self._store.reread(job_id)
        if job.ended:
            return
        if not isinstance(found, EnvironmentFault):  # the machine's faults pass, however often they come
            self._times[job.id, job.state] += 1
        times = self._times[job.id, job.state]
        stage = self._store.stage_of(job)
        if times < GIVEN_UP_AT:
            stage.try_again(Mishap(job, found, backoff(max(times, 1))))
        else:
            stage.give_up(job, found)
