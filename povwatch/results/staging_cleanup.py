"""Clears outputs/.povwatch after a job has ended, however it ended.

A failed attempt's files are deleted with the attempt (attempt/failed.py). Checkpoints stay for the next attempt, so
they are still there if the job ends before it: the clip was deleted or replaced, the JSON was changed back, or somebody
cancelled the job.
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
    from povwatch.publish.staging import Staging


class StagingCleanup:
    """Clears after ended jobs. The next start clears what cannot be cleared now."""

    def __init__(self, store: JobStore, staging: Staging, background: Background) -> None:
        self._store = store
        self._staging = staging
        self._background = background

    def ended(self, job: Job) -> None:
        """Clear after an ended job. One that was never claimed left nothing: a hook's files are deleted with it."""
        if job.engine is not None and not job.kept:
            self._clear(job.id)

    def all(self) -> None:
        """Clear after every job that ended while outputs/ was away.

        Job numbers are never reused, so nothing that runs is touched, however late this is.
        """
        with suppress(PovwatchError):
            for job_id in {job_id for job_id, _ in self._staging.runs()}:
                job = self._store.journal.job(job_id)
                if job is None or (job.ended and not job.kept):
                    self._clear(job_id)

    def _clear(self, job_id: int) -> None:
        key = ("tidy", job_id)
        if not self._background.busy(key):
            self._background.submit(key, _ignore, _finish, self._staging, job_id)


def _finish(_: threading.Event, staging: Staging, job_id: int) -> None:
    staging.finish(job_id)


def _ignore(_: Any) -> None:  # noqa: ANN401 - whatever it was, the next start sweeps
    return
