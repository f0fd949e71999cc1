"""Makes a journal anew from what else is known (povwatch rebuild). It appears complete, or not at all.

It grows under another name, and is renamed once everything is in it and on the disk. An existing journal is moved aside
first. An interruption there leaves no journal, which the daemon notices and reports.
"""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.errors import JournalError
from povwatch.files import fs
from povwatch.journal.lock import FILE as LOCK
from povwatch.journal.lock import JournalLock
from povwatch.journal.reader import FILE, JournalReader
from povwatch.journal.writer import Journal, connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from povwatch.core.job import Job

BESIDE = ("", "-wal", "-shm")
"""Suffixes of SQLite's files: the database, its log, and the log's index. They belong together."""

GROWING = FILE + ".rebuilding"


@dataclasses.dataclass(frozen=True, slots=True)
class Restored:
    """A job that was found again."""

    job: Job
    events: tuple[tuple[float, str, Mapping[str, object]], ...]
    """Its known history: when (seconds since the epoch), the event's name, and its data."""


class NewJournal(Journal):
    """A journal that nobody else uses yet."""

    replaced: Path | None = None
    """The new path of the journal that was there before, if there was one."""

    def close(self) -> None:
        """Close the file alone. The lock is held until the file has its name."""
        JournalReader.close(self)

    def restore(self, jobs: list[Restored], bases: Mapping[bytes, bytes]) -> None:
        """Write everything in one transaction.

        Args:
            jobs: with the numbers that they are to have.
            bases: clip to base. Clips without a job are included, so that they keep their names.
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
    """A new journal, which replaces the present one if the block succeeds.

    Raises:
        ConfigError: a daemon runs on the journal.
    """
    state.mkdir(parents=True, exist_ok=True)
    file = state / GROWING
    with JournalLock(state) as lock:
        for part in BESIDE:
            (state / (GROWING + part)).unlink(missing_ok=True)
        with closing(NewJournal(connect(file), lock)) as journal:
            yield journal
        _sync_and_chown(file, state)
        journal.replaced = move_aside(state)
        file.rename(state / FILE)
        _sync(state)


def is_used(state: Path) -> bool:
    """Whether a journal exists that ever held a job, or that cannot be read. Such a journal must not be ignored."""
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
    """Rename an existing journal with all its files; its new path, or None if there is none."""
    if not any((state / (FILE + part)).exists() for part in BESIDE):
        return None
    number = 1
    while any((state / f"{FILE}.old-{number}{part}").exists() for part in BESIDE):
        number += 1
    for part in reversed(BESIDE):  # the database last: without it nobody takes the log for another's
        with suppress(FileNotFoundError):
            (state / (FILE + part)).rename(state / f"{FILE}.old-{number}{part}")
    _sync(state)
    return state / f"{FILE}.old-{number}"


def _sync_and_chown(file: Path, state: Path) -> None:
    """Sync the file, and give it the folder's owner: the daemon has to open it, not root who ran the command."""
    if file.with_name(file.name + "-wal").exists():
        raise JournalError(f"The new journal {file} could not be closed.", "Check the disk (df, journalctl -k).")
    owner = state.stat()
    with fs.closing(os.open(file, os.O_RDWR | os.O_CLOEXEC)) as fd:
        if os.geteuid() == 0:
            os.fchown(fd, owner.st_uid, owner.st_gid)
            os.chown(state / LOCK, owner.st_uid, owner.st_gid)
        os.fsync(fd)


def _sync(folder: Path) -> None:
    with fs.closing(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        fs.fsync_dir(fd)
