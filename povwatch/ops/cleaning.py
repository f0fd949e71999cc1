"""What is left over in outputs/.povwatch, in inputs/ and among the requests, for `povwatch clean`.

1. Looked at first, judged by the journal afterwards: a job is in the journal before anything of it is on a disk, so
   what belongs to no job there, or to one that has ended, nobody needs. Jobs never come back: another run is another.
2. What belongs to a job that has not ended stays, whatever it is: its next copies may be made ahead of its turn.
   What was generated for a clip's last job and could not be finished stays too: `povwatch retry` finishes it.
3. An error file goes if it is ours and no file in its folder can be the clip that it is about.
4. Temporary files and answers that nobody came for go when they are an hour old.
5. Requests stay: the daemon takes them at its start.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.command import command
from povwatch.core.errors import PovwatchError
from povwatch.core.units import spell_size
from povwatch.publish.staging import Staging
from povwatch.service.requests import Spool
from povwatch.spec.left_over import LeftInInputs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.config.settings import Config
    from povwatch.core.job import Job
    from povwatch.journal import JournalReader

OLD = 3600.0
"""Seconds after which a temporary file is nobody's any more."""

LINES_MAX = 100
"""Things that are named one by one."""


class Kind(StrEnum):
    """What nobody needs, for people."""

    STAGING = "staging"
    ERROR_FILE = "error file of a clip that is gone"
    TEMPORARY = "temporary file"
    ANSWER = "answer that nobody came for"


@dataclass(frozen=True, slots=True)
class Left:
    """Something that nobody needs."""

    kind: Kind
    path: bytes
    """Relative to its folder: outputs/, inputs/ or the requests."""
    size: int
    """Bytes."""
    job: int | None = None
    """Whose staging it is."""

    @property
    def what(self) -> str:
        """What it is, for people."""
        return str(self.kind) if self.job is None else f"{self.kind} of job {self.job}"


class Cleaning:
    """Of one povwatch. `look` and `remove` only touch disks; `judge` only reads the journal."""

    def __init__(self, config: Config) -> None:
        self._rooms = Staging(config.paths.outputs)
        self._inputs = LeftInInputs(config.paths.inputs)
        self._spool = Spool(config.paths.state)
        self._suffixes = tuple(suffix.encode() for suffix in config.arrival.extensions)

    def look(self, now: float) -> list[Left]:
        """Everything that may be left over.

        Args:
            now: seconds since the epoch.

        Raises:
            PovwatchError: a folder is away, or may not be looked into.
        """
        return [
            *(Left(Kind.STAGING, path, size, job) for job, path, size in self._rooms.rooms()),
            *(Left(Kind.ERROR_FILE, path, size) for path, size in self._inputs.lonely_errors(self._suffixes)),
            *(Left(Kind.TEMPORARY, path, size) for path, size in self._inputs.temporary(now - OLD)),
            *(Left(Kind.ANSWER, path, size) for path, size in self._spool.stale(now - OLD)),
        ]

    @staticmethod
    def judge(seen: Sequence[Left], journal: JournalReader) -> list[Left]:
        """What of it nobody needs.

        Args:
            seen: what was looked at before.
            journal: as it is now.
        """
        return [left for left in seen if not _needed(left, journal)]

    def remove(self, found: Sequence[Left]) -> list[Left]:
        """Take it away; what could not be.

        Args:
            found: what was judged.
        """
        kept = []
        for left in found:
            try:
                if left.job is not None:
                    self._rooms.finish(left.job)
                elif left.kind is Kind.ERROR_FILE:
                    self._inputs.remove_error(left.path)
                elif left.kind is Kind.TEMPORARY:
                    self._inputs.remove_temporary(left.path)
                else:
                    self._spool.remove(left.path)
            except (OSError, PovwatchError):
                kept.append(left)
        gone = {path for _, path, _ in self._rooms.rooms()}
        return [*kept, *(left for left in found if left.job is not None and left.path in gone)]


def in_words(found: Sequence[Left], kept: Sequence[Left], *, dry: bool) -> tuple[str, list[str]]:
    """What was done, or would be, as a sentence and a line for each thing.

    Args:
        found: what nobody needs.
        kept: what of it could not be removed.
        dry: whether nothing was to be removed.
    """
    gone = [left for left in found if left not in kept]
    size = spell_size(sum(left.size for left in gone))
    lines = [f"{left.what}: {layout.shown(left.path)[:300]}, {spell_size(left.size)}" for left in gone[:LINES_MAX]]
    if len(gone) > LINES_MAX:
        lines.append(f"... and {len(gone) - LINES_MAX} more")
    if not found:
        return "nothing is left over.", []
    text = f"{len(gone)} left over, {size}: {command('clean')} removes it." if dry else f"{len(gone)} removed, {size}."
    return text + (f" {len(kept)} could not be removed: are they povwatch's own?" if kept else ""), lines


def _is_kept(job: Job, journal: JournalReader) -> bool:
    """Whether a job's artifact waits to be finished, and the clip has had no other job since."""
    latest = journal.latest(job.path)
    return job.kept and latest is not None and latest.id == job.id


def _needed(left: Left, journal: JournalReader) -> bool:
    if left.job is not None:
        job = journal.job(left.job)
        return job is not None and (not job.ended or _is_kept(job, journal))
    if left.kind is not Kind.ERROR_FILE:
        return False
    folder, name = layout.split(left.path)
    clip = journal.holder(folder, name.removesuffix(layout.ERROR))
    job = journal.latest(clip) if clip is not None else None
    return job is not None and not job.ended
