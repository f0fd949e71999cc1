"""Writes the journal: one connection in one process, one transaction for every change of a job.

A transition is a compare-and-set: it names the state and the run that the caller believes the job to be in, and
changes exactly one row or raises. `run_id` is the fencing token.

A transaction that the disk refuses may wait for the disk. Its statements so far are kept, and repeated on a journal
that nobody else has changed meanwhile.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import threading
from contextlib import ExitStack, contextmanager, suppress
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

from povwatch.core import layout
from povwatch.core.command import command
from povwatch.core.errors import JournalError, JournalFailed
from povwatch.core.job import Job, JobState, Waiting, may_go
from povwatch.core.looks import OWN
from povwatch.journal.lock import JournalLock
from povwatch.journal.reader import FILE, SCHEMA_VERSION, JournalReader
from povwatch.journal.statements import Statements, journal_failed, translate_sqlite_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from povwatch.core.hook_record import HookRecord


BROUGHT = """
CREATE TEMP TABLE brought (
    id INTEGER PRIMARY KEY, path BLOB, folder BLOB, base BLOB, has_base INTEGER, source_stat BLOB
) STRICT
"""
"""A table for clips to be added. One statement for all of them is twice as fast as one for each."""


_JOB = tuple(field.name for field in dataclasses.fields(Job))
"""The columns of a job's row."""


class StaleJobError(JournalError):
    """The job is no longer what the caller believes it to be; nothing was changed."""


class WrongThreadError(RuntimeError):
    """A thread that does not own the journal used it. That is a bug in povwatch; disk and file are not to blame."""


class Patience(Protocol):
    """Waits for a disk that refuses a change."""

    def wait(self, error: JournalFailed, times: int) -> None:
        """Wait a while after `times` refusals in a row; raise `error` if waiting does not help."""

    def over(self) -> None:
        """The disk has taken the change."""


class Journal(JournalReader):
    """The daemon's journal. Only the thread that opened it may call it.

    A background thread gets data that was read in advance: see `core/background.py`.
    """

    def __init__(self, connection: sqlite3.Connection, lock: JournalLock) -> None:
        super().__init__(connection)
        self._owner = threading.current_thread()
        self._lock = lock
        self._batched = False
        self._write = Statements("write.sql", self._step)
        self._steps: list[tuple[Callable[[], Any], Any]] = []
        """The open transaction's steps, from its BEGIN on, each with its result."""
        self.patience: Patience | None = None
        """Waits for a full disk; without it a full disk raises at once."""

    @classmethod
    def open(cls, state: Path, *, fresh: Callable[[], None] = lambda: None) -> Journal:
        """Take the lock, open or make the journal, and migrate it.

        Args:
            state: the journal's folder.
            fresh: called before a new journal is made; an exception of it prevents that.

        Raises:
            ConfigError: another daemon has the journal.
            JournalError: the file is damaged, or from a newer povwatch.
        """
        try:
            state.mkdir(parents=True, exist_ok=True)
            lock = JournalLock(state)
        except OSError as error:
            raise JournalFailed(
                f"The journal in {state} cannot be used: {error.strerror}.",
                "Make room on its disk, or see what is wrong with it (df, journalctl -k).",
                refused=True,
            ) from error
        try:
            return cls(connect(state / FILE, fresh), lock)
        except BaseException:
            lock.close()
            raise

    @property
    def _db(self) -> sqlite3.Connection:
        """The connection of every statement.

        Raises:
            WrongThreadError: this is not the thread that opened the journal.
        """
        caller = threading.current_thread()
        if caller is not self._owner:
            raise WrongThreadError(f"The journal belongs to {self._owner.name}, and {caller.name} has called it.")
        return self._connection

    def close(self) -> None:
        """Close the file, then release the lock."""
        super().close()
        self._lock.close()

    def add(
        self,
        clips: Iterable[tuple[bytes, bytes]],
        now: float,
        *,
        look: str = OWN,
        force: bool = False,
    ) -> list[Job]:
        """Add an `arriving` job for each clip that was seen, in one transaction.

        Args:
            clips: path and stat signature of each.
            now: seconds since the epoch.
            look: the look of the clips that the jobs are to make.
            force: run them even if the same was published before.
        """
        signatures = dict(clips)
        with self._transaction():
            known, bases = self._choose_bases(signatures)
            first = int(self._read.last_job(self._db)["id"]) + 1
            jobs = [
                Job(
                    id=number,
                    path=path,
                    base=bases[path],
                    look=look,
                    state=JobState.ARRIVING,
                    waiting_on=Waiting.SETTLING,
                    force=force,
                    source_stat=signature,
                    created_at=now,
                    updated_at=now,
                )
                for number, (path, signature) in enumerate(signatures.items(), first)
            ]
            self._write.bring(
                self._db,
                [
                    {
                        "id": job.id,
                        "path": job.path,
                        "folder": layout.split(job.path)[0],
                        "base": job.base,
                        "has_base": job.path in known,
                        "source_stat": job.source_stat,
                    }
                    for job in jobs
                ],
            )
            self._write.take_bases(self._db)
            self._write.add_jobs(self._db, look=look, force=force, now=now)
            self._write.add_seen(self._db, now=now)
            self._write.brought(self._db)
        return jobs

    def advance(self, old: Job, changed: Job, event: str, now: float, data: Mapping[str, object] | None = None) -> Job:
        """Change a job and journal the event, in one transaction.

        Args:
            old: the job as the caller knows it.
            changed: the job as it is to be.
            event: a name from events.SENTENCES.
            now: seconds since the epoch.
            data: kept with the event.

        Raises:
            StaleJobError: the job is no longer in that state or run.
            JournalError: core/job.py has no such transition.
        """
        new = dataclasses.replace(changed, updated_at=now)
        if new.state != old.state and not may_go(old.state, new.state):
            raise JournalError(f"Job {old.id} cannot go from {old.state} to {new.state} ({event}).")
        with self._transaction():
            row = {name: getattr(new, name) for name in _JOB}  # asdict copies deeply, which takes longer than the rest
            row |= {"was": str(old.state), "was_run": old.run_id, "state": str(new.state)}
            row["waiting_on"] = str(new.waiting_on) if new.waiting_on else None
            if self._write.advance(self._db, **row) != 1:
                raise StaleJobError(f"Job {old.id} is no longer {old.state} in run {old.run_id} ({event}).")
            self._note(new, old.state, event, now, data or {})
            if new.ended:
                self._write.drop_progress(self._db, job=new.id)
        return new

    def note(self, job: Job, event: str, now: float, data: Mapping[str, object] | None = None) -> None:
        """Journal an event of a job that changes nothing."""
        with self._transaction():
            self._note(job, job.state, event, now, data or {})

    def save_grace(self, left: Mapping[int, float], now: float) -> None:
        """Keep the seconds of grace that jobs have left, so that a restart neither renews nor forgets them."""
        with self._transaction():
            self._write.save_grace(self._db, [{"id": n, "grace_left": s, "now": now} for n, s in left.items()])

    def save_signatures(self, job_id: int, *, source_stat: bytes | None = None, spec_stat: bytes | None = None) -> None:
        """Keep the new signature of a clip or its JSON whose contents are the same, so that it is not read again."""
        with self._transaction():
            if source_stat is not None:
                self._write.save_source_stat(self._db, id=job_id, source_stat=source_stat)
            if spec_stat is not None:
                self._write.save_spec_stat(self._db, id=job_id, spec_stat=spec_stat)

    def set_hook(self, run: HookRecord) -> None:
        """Keep how a hook of a job stands."""
        with self._transaction():
            self._write.set_hook(self._db, **dataclasses.asdict(run) | {"state": str(run.state)})

    def set_progress(self, job_id: int, data: Mapping[str, object], now: float) -> None:
        """Keep a job's progress."""
        with self._transaction():
            self._write.set_progress(self._db, job=job_id, at=now, data=json.dumps(data))

    def set_facts(self, **facts: object) -> None:
        """Publish facts about the daemon."""
        with self._transaction():
            for name, value in facts.items():
                self._write.set_fact(self._db, name=name, value=json.dumps(value))

    def give_base_back(self, path: bytes) -> None:
        """Free the base of a clip that is gone and was never published."""
        with self._transaction():
            if not self._read.has_done(self._db, path=path):
                self._write.drop_base(self._db, path=path)

    def _choose_bases(self, paths: Collection[bytes]) -> tuple[Collection[bytes], dict[bytes, bytes]]:
        """The clips that already have a base, and the base of every clip: its own, or the first that is free."""
        wanted: dict[bytes, tuple[bytes, bytes]] = {}
        for path in paths:
            folder, name = layout.split(path)
            first, last = layout.bases_like(name)
            if folder in wanted:
                first, last = min(first, wanted[folder][0]), max(last, wanted[folder][1])
            wanted[folder] = (first, last)
        known = {
            row["path"]: row["base"]
            for folder, (first, last) in wanted.items()
            for row in self._read.bases_in(self._db, folder=folder, first=first, last=last)
        }
        return known, layout.assign_bases(paths, known)

    def _note(self, job: Job, was: JobState | None, event: str, now: float, data: Any) -> None:  # noqa: ANN401 - JSON
        self._write.add_event(
            self._db,
            job=job.id,
            at=now,
            event=event,
            was=str(was) if was else None,
            state=str(job.state),
            run_id=job.run_id,
            data=json.dumps(data, default=_plain),
        )

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Make all changes of the block one transaction: each commit costs a disk sync.

        Only for changes that nothing outside depends on yet. An exception undoes the block; a nested block is undone
        alone.
        """
        if self._batched:
            with self._savepoint():
                yield
            return
        with self._transaction():
            self._batched = True
            try:
                yield
            finally:
                self._batched = False

    @contextmanager
    def _savepoint(self) -> Iterator[None]:
        """Undo only this block's changes if it fails. Savepoints of the same name nest."""
        db, before = self._db, len(self._steps)
        self._run("SAVEPOINT block")
        try:
            yield
            self._run("RELEASE block")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk may have ended the whole transaction
                db.execute("ROLLBACK TO block")
                db.execute("RELEASE block")
            del self._steps[before:]
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        if self._batched:
            yield
            return
        self._steps.clear()
        try:
            self._run("BEGIN IMMEDIATE")
            yield
            self._run("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        finally:
            self._steps.clear()

    def _run(self, statement: str) -> None:
        def act() -> None:
            with translate_sqlite_errors():
                self._db.execute(statement)

        self._step(act)

    def _step(self, act: Callable[[], Any]) -> Any:  # noqa: ANN401 - as the statement has it
        """Execute a step of a transaction. If the disk refuses it, wait, then repeat all steps so far and this one.

        Raises:
            JournalFailed: nothing waits for the disk, or a repeated step gave another result than before.
        """
        refused = 0
        while True:
            try:
                if refused:
                    self._do_again()
                found = act()
                break
            except JournalFailed as error:
                if self.patience is None:
                    raise
                self._roll_back()
                refused += 1
                self.patience.wait(error, refused)
        self._steps.append((act, found))
        if refused and self.patience is not None:
            self.patience.over()
        return found

    def _do_again(self) -> None:
        self._roll_back()
        for act, found in self._steps:
            if act() != found:
                raise JournalFailed("The journal was changed by somebody else.", "Nobody but povwatch may write it.")

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # the first error is the one that counts
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


def connect(file: Path, fresh: Callable[[], None] = lambda: None) -> sqlite3.Connection:
    """The only connection that writes; see `Journal.open`."""
    missing = not file.exists() or not file.stat().st_size
    if missing:
        fresh()
    try:
        with ExitStack() as undo:
            db = sqlite3.connect(file, isolation_level=None, timeout=10)
            undo.callback(db.close)
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",  # a commit that has returned survives a power cut
                "foreign_keys = ON",
                "trusted_schema = OFF",
                "temp_store = MEMORY",
            ):
                db.execute(f"PRAGMA {pragma}")
            _check(db)
            if not missing and not db.execute("PRAGMA user_version").fetchone()[0]:
                fresh()  # povwatch was killed while it made the journal
            _migrate(db, file)
            db.execute(BROUGHT)
            undo.pop_all()
            return db
    except sqlite3.OperationalError as error:  # the disk failed; the file's contents are not to blame
        raise journal_failed(
            error,
            f"The journal {file} cannot be used: {error}.",
            "Make room on its disk, or see what is wrong with it (df, journalctl -k).",
        ) from error
    except sqlite3.DatabaseError as error:
        raise JournalError(
            f"The journal {file} cannot be used: {error}.",
            f"Check the disk. If the file is damaged: {command('rebuild', '--move-aside')} moves it aside and makes it "
            "again from inputs/ and outputs/, so that nothing runs twice.",
        ) from error


def _check(db: sqlite3.Connection) -> None:
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(found)


def _migrate(db: sqlite3.Connection, file: Path) -> None:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA_VERSION:
        raise JournalError(
            f"The journal {file} is from a newer povwatch (schema {version}, this one knows {SCHEMA_VERSION}).",
            "Run the newer povwatch.",
        )
    scripts = sorted((files(__package__) / "sql" / "migrations").iterdir(), key=lambda script: script.name)
    for number, script in enumerate(scripts, 1):
        if number > version:
            # executescript commits an open transaction, so each migration is one script with its own.
            db.executescript(f"BEGIN IMMEDIATE;\n{script.read_text()}\nPRAGMA user_version = {number};\nCOMMIT;")


def _plain(value: object) -> object:
    return layout.shown(value) if isinstance(value, bytes) else str(value)
