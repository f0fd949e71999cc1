"""What is known of the hooks of the jobs under way: the journal with a memory."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from povwatch.core.hook_record import HookRun
    from povwatch.core.job import Job
    from povwatch.journal.store import JobStore


class Records:
    """Hooks by job and name."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._of: dict[int, dict[str, HookRun]] = {}

    def of(self, job: Job) -> dict[str, HookRun]:
        """The hooks of a job that were begun."""
        if job.id not in self._of:
            self._of[job.id] = self._store.journal.hooks(job.id)
        return self._of[job.id]

    def keep(self, record: HookRun) -> None:
        """Journal how a hook stands."""
        record = dataclasses.replace(record, updated_at=self._store.clock.wall())
        self._store.journal.set_hook(record)
        if record.job in self._of:
            self._of[record.job][record.hook] = record

    def forget(self, job: Job) -> None:
        """The job ended."""
        self._of.pop(job.id, None)
