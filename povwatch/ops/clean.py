"""Finds left-overs in outputs/.povwatch, in inputs/ and among the requests, for `povwatch clean`.

1. Files are listed first, and the journal is asked afterwards. A job is in the journal before any of its files exists,
   so files of an unknown or ended job are left-overs. Jobs never come back: another run is another job.
2. Files of a job that has not ended stay; its next copies may be made ahead of its turn. The copies that the looks of a
   clip share stay while any job has not ended.
   The artifact of a clip's last job stays too if it could not be finished: `povwatch retry` finishes it.
3. An error file is a left-over if it is ours and no file in its folder can be its clip.
4. Temporary files and unread answers are left-overs after an hour.
5. Requests stay: the daemon takes them at its start.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from povwatch.core import layout, looks
from povwatch.core.command import command
from povwatch.core.errors import PovwatchError
from povwatch.core.units import spell_size
from povwatch.publish.staging import Staging
from povwatch.service.requests import Answer, RequestSpool
from povwatch.spec.inputs_folder import InputsFolder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.config.settings import Config
    from povwatch.core.job import Job
    from povwatch.journal import JournalReader

OLD = 3600.0
"""Seconds after which a temporary file is a left-over."""

LINES_MAX = 100
"""The most left-overs that are listed one by one."""


class LeftoverKind(StrEnum):
    """The kinds of left-overs, in words."""

    STAGING = "staging"
    SHARED = "copies of a clip for its looks"
    ERROR_FILE = "error file of a clip that is gone"
    TEMPORARY = "temporary file"
    ANSWER = "answer that nobody came for"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A file or folder that may be a left-over."""

    kind: LeftoverKind
    path: bytes
    """Relative to its folder: outputs/, inputs/ or the requests."""
    size: int
    """Bytes."""
    job: int | None = None
    """The job whose staging it is."""

    @property
    def what(self) -> str:
        """Its kind, and its job if it has one."""
        return str(self.kind) if self.job is None else f"{self.kind} of job {self.job}"


def find(config: Config, now: float) -> list[Leftover]:
    """List everything that may be a left-over. Only touches disks.

    Args:
        now: seconds since the epoch.

    Raises:
        PovwatchError: a folder is away or cannot be listed.
    """
    inputs = InputsFolder(config.paths.inputs)
    return [
        *(Leftover(LeftoverKind.STAGING, path, size, job) for job, path, size in Staging(config.paths.outputs).sizes()),
        *(Leftover(LeftoverKind.SHARED, path, size) for path, size in Staging(config.paths.outputs).shared_sizes()),
        *(
            Leftover(LeftoverKind.ERROR_FILE, path, size)
            for path, size in inputs.lonely_errors(config.arrival.suffixes)
        ),
        *(Leftover(LeftoverKind.TEMPORARY, path, size) for path, size in inputs.temporary(now - OLD)),
        *(
            Leftover(LeftoverKind.ANSWER, path, size)
            for path, size in RequestSpool(config.paths.state).stale(now - OLD)
        ),
    ]


def judge(found: Sequence[Leftover], journal: JournalReader) -> list[Leftover]:
    """The left-overs among files that were listed earlier. Only reads the journal."""
    return [left for left in found if not _is_needed(left, journal)]


def _is_needed(left: Leftover, journal: JournalReader) -> bool:
    if left.job is not None:
        job = journal.job(left.job)
        return job is not None and (not job.ended or _is_kept(job, journal))
    if left.kind is LeftoverKind.SHARED:
        return bool(journal.active())
    if left.kind is not LeftoverKind.ERROR_FILE:
        return False
    owner = looks.owner(left.path.removesuffix(layout.ERROR) + looks.JSON, journal.holder)
    job = journal.latest(*owner) if owner is not None else None
    return job is not None and not job.ended


def _is_kept(job: Job, journal: JournalReader) -> bool:
    """Whether the job's artifact waits to be finished, and the clip has no newer job."""
    latest = journal.latest(job.path, job.look)
    return job.kept and latest is not None and latest.id == job.id


def remove(config: Config, found: Sequence[Leftover]) -> list[Leftover]:
    """Remove left-overs; returns those that could not be removed. Only touches disks."""
    staging, inputs = Staging(config.paths.outputs), InputsFolder(config.paths.inputs)
    kept = []
    for left in found:
        try:
            if left.job is not None:
                staging.delete_job(left.job)
            elif left.kind is LeftoverKind.SHARED:
                staging.delete_shared(os.fsdecode(left.path))
            elif left.kind is LeftoverKind.ERROR_FILE:
                inputs.remove_error(left.path)
            elif left.kind is LeftoverKind.TEMPORARY:
                inputs.remove_temporary(left.path)
            else:
                RequestSpool(config.paths.state).remove(left.path)
        except (OSError, PovwatchError):
            kept.append(left)
    there = {path for _, path, _ in staging.sizes()}
    return [*kept, *(left for left in found if left.job is not None and left.path in there)]


def answer(found: Sequence[Leftover], kept: Sequence[Leftover], *, dry: bool) -> Answer:
    """The outcome as a sentence, and a line for each left-over. Those in `kept` could not be removed."""
    if not found:
        return Answer(done=True, text="nothing is left over.")
    gone = [left for left in found if left not in kept]
    size = spell_size(sum(left.size for left in gone))
    lines = [f"{left.what}: {layout.shown(left.path)[:300]}, {spell_size(left.size)}" for left in gone[:LINES_MAX]]
    if len(gone) > LINES_MAX:
        lines.append(f"... and {len(gone) - LINES_MAX} more")
    text = f"{len(gone)} left over, {size}: {command('clean')} removes it." if dry else f"{len(gone)} removed, {size}."
    text += f" {len(kept)} could not be removed: are they povwatch's own?" if kept else ""
    return Answer(not kept, text, tuple(lines))
