"""A journal that is made again from what else is known (povwatch rebuild): whole, or not there at all.

It grows under another name and gets its own when everything is in it and on the disk. A journal that is there is moved
aside first; whenever that is interrupted there is none, which the daemon notices and says.
"""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.errors import JournalError
from povwatch.files.fs import fsync_dir
from povwatch.journal.lock import JournalLock
from povwatch.journal.reader import FILE, JournalReader
from povwatch.journal.writer import Journal, connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from povwatch.core.job import Job

BESIDE = ("", "-wal", "-shm")
"""What SQLite keeps: a file, its log, and the log's index. They belong together."""

GROWING = FILE + ".rebuilding"


@dataclasses.dataclass(frozen=True, slots=True)
class Restored:
    """A job as it was found again."""

    job: Job
    events: tuple[tuple[float, str, Mapping[str, object]], ...]
    """Its history, as far as it is known: when, the event's name, and what is kept with it."""


class NewJournal(Journal):
    """A journal that nobody has seen yet."""

    replaced: Path | None = None
    """Where the journal is now that was there before, if one was."""

    def close(self) -> None:
        """Close the file alone: the lock is held until the file has its name."""
        JournalReader.close(self)

    def restore(self, jobs: list[Restored], bases: Mapping[bytes, bytes]) -> None:
        """Put everything into it, in one transaction.

        Args:
            jobs: with the numbers that they are to have.
            bases: clip to base; clips without a job too, so that they get the names that they had.
        """
        with self._transaction():
            for path, base in bases.items():
                self._write.restore_base(self._db, folder=layout.split(path)[0], base=base, path=path)
            for restored in jobs:
                job = restored.job
                row = dataclasses.asdict(job) | {"state": str(job.state)}
                row["waiting_on"] = str(job.waiting_on) if job.waiting_on else None
                self._write.restore_job(self._db, **row)
                was = None
                for at, event, data in restored.events:
                    self._note(job, was, event, at, data)
                    was = job.state


@contextmanager
def made_anew(state: Path) -> Iterator[NewJournal]:
    """A new journal, which takes the place of the one that is there when the block ends well.

    Raises:
        ConfigError: a daemon runs on the journal.
    """
    state.mkdir(parents=True, exist_ok=True)
    file = state / GROWING
    with JournalLock(state) as lock:
        _remove(file)
        with closing(NewJournal(connect(file), lock)) as journal:
            yield journal
        _settle(file, state)
        journal.replaced = move_aside(state)
        file.rename(state / FILE)
        _sync(state)


def is_used(state: Path) -> bool:
    """Whether there is a journal that ever held a job, or that cannot be read: one that must not be passed over."""
    file = state / FILE
    if not file.exists() or not file.stat().st_size:
        return False
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
            if not db.execute("PRAGMA user_version").fetchone()[0]:
                return False
            return db.execute("SELECT 1 FROM jobs LIMIT 1").fetchone() is not None
    except sqlite3.Error:
        return True


def move_aside(state: Path) -> Path | None:
    """Give a journal that is there, with all that belongs to it, another name; which, or None if there is none."""
    if not any((state / (FILE + part)).exists() for part in BESIDE):
        return None
    number = 1
    while any((state / f"{FILE}.old-{number}{part}").exists() for part in BESIDE):
        number += 1
    for part in reversed(BESIDE):  # the file last: without it nobody takes the log for another's
        with suppress(FileNotFoundError):
            (state / (FILE + part)).rename(state / f"{FILE}.old-{number}{part}")
    _sync(state)
    return state / f"{FILE}.old-{number}"


def _settle(file: Path, state: Path) -> None:
    """The file is on the disk, and belongs to whom the folder belongs to: the daemon, not root who called this."""
    if file.with_name(file.name + "-wal").exists():
        raise JournalError(f"The new journal {file} could not be closed.", "See to the disk (df, journalctl -k).")
    owner = state.stat()
    fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.geteuid() == 0:
            os.fchown(fd, owner.st_uid, owner.st_gid)
            os.chown(state / "lock", owner.st_uid, owner.st_gid)
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(file: Path) -> None:
    for part in BESIDE:
        file.with_name(file.name + part).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fsync_dir(fd)
    finally:
        os.close(fd)
