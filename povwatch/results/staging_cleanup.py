"""What a job leaves in outputs/.povwatch when it ends, in whatever way: nothing.

An attempt's files go with the attempt where that fails (endings.py). Its checkpoints are for the next one, so they are
still there when a job ends in between: its clip was deleted or replaced while it waited for its next attempt, its JSON
was changed back, somebody said cancel.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from povwatch.core.errors import PovwatchError

if TYPE_CHECKING:
    import threading

    from povwatch.core.background import Background
    from povwatch.core.job import Job
    from povwatch.journal.store import JobStore
    from povwatch.publish import Publisher


class StagingCleanup:
    """Clears after jobs that have ended; what cannot be cleared now is cleared at the next start."""

    def __init__(self, store: JobStore, publisher: Publisher, background: Background) -> None:
        self._store = store
        self._publisher = publisher
        self._background = background

    def ended(self, job: Job) -> None:
        """A job ended. One that never was claimed has left nothing: what a hook is given goes with the hook."""
        if job.engine is not None and not job.kept:
            self._clear(job.id)

    def all(self) -> None:
        """outputs/ was away: clear after every job that ended meanwhile.

        Numbers are never used again, so nothing that runs is touched, however late it is done.
        """
        with suppress(PovwatchError):
            for job_id in self._publisher.jobs():
                job = self._store.journal.job(job_id)
                if job is None or (job.ended and not job.kept):
                    self._clear(job_id)

    def _clear(self, job_id: int) -> None:
        key = ("tidy", job_id)
        if not self._background.busy(key):
            self._background.submit(key, _ignore, _finish, self._publisher, job_id)


def _finish(_: threading.Event, publisher: Publisher, job_id: int) -> None:
    publisher.finish(job_id)


def _ignore(_: Any) -> None:  # noqa: ANN401 - whatever it was, the next start sweeps
    return
