"""The records of the hooks of present jobs, kept in memory and in the journal."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from povwatch.core.hook_record import HookRun
    from povwatch.core.job import Job
    from povwatch.journal.store import JobStore


class Records:
    """Records by job and hook."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._of: dict[int, dict[str, HookRun]] = {}

    def of(self, job: Job) -> dict[str, HookRun]:
        """The records of a job's hooks, by name; hooks that have not begun have none."""
        if job.id not in self._of:
            self._of[job.id] = self._store.journal.hooks(job.id)
        return self._of[job.id]

    def keep(self, record: HookRun) -> None:
        """Journal a record."""
        record = dataclasses.replace(record, updated_at=self._store.clock.wall())
        self._store.journal.set_hook(record)
        if record.job in self._of:
            self._of[record.job][record.hook] = record

    def forget(self, job: Job) -> None:
        """Forget a job that ended."""
        self._of.pop(job.id, None)
