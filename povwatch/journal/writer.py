"""Writing the journal: one connection in one process, every change of a job one transaction.

A transition is a compare-and-set: it names the state and the run that the caller believes the job to be in, and
changes exactly one row or raises. `run_id` is the fencing token.

A transaction that the disk refuses may be waited for: the statements that it has come to are kept, and done once more
on a journal that nobody else has changed meanwhile.
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
from povwatch.journal.lock import JournalLock
from povwatch.journal.reader import FILE, SCHEMA_VERSION, JournalReader
from povwatch.journal.statements import Statements, in_words, journal_failed

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from povwatch.core.hook_record import HookRun


BROUGHT = """
CREATE TEMP TABLE brought (
    id INTEGER PRIMARY KEY, path BLOB, folder BLOB, base BLOB, has_base INTEGER, source_stat BLOB
) STRICT
"""
"""Clips on their way into the journal. A statement for all of them is twice as quick as one for each."""


class StaleJobError(JournalError):
    """The job is no longer what the caller believes it to be; nothing was changed."""


class WrongThreadError(RuntimeError):
    """A thread that does not own the journal has used it: a mistake in povwatch, whatever the disk and the file are."""


class Patience(Protocol):
    """Who waits for a disk that refuses a change."""

    def wait(self, error: JournalFailed, times: int) -> None:
        """Wait a while, after it was refused so many times in a row; raise `error` where that does not help."""

    def over(self) -> None:
        """The change is made."""


class Journal(JournalReader):
    """The journal as the daemon has it. It belongs to the thread that opened it; no other one may call it.

    What a background thread needs of it is read before and handed over: see `core/background.py`.
    """

    def __init__(self, connection: sqlite3.Connection, lock: JournalLock) -> None:
        super().__init__(connection)
        self._owner = threading.current_thread()
        self._lock = lock
        self._batched = False
        self._write = Statements("write.sql", self._step)
        self._steps: list[tuple[Callable[[], Any], Any]] = []
        """What the open transaction has come to, from its BEGIN on, and what each step gave."""
        self.patience: Patience | None = None
        """Who waits for a full disk; nobody does if left out."""

    @classmethod
    def open(cls, state: Path, *, fresh: Callable[[], None] = lambda: None) -> Journal:
        """Take the lock, open the journal (making it if there is none) and bring it up to date.

        Args:
            state: the folder that it is in.
            fresh: called before a journal is made where none is; what it raises keeps it from being made.

        Raises:
            ConfigError: another daemon has it.
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
        """What every statement is run on.

        Raises:
            WrongThreadError: this is not the thread that opened the journal.
        """
        caller = threading.current_thread()
        if caller is not self._owner:
            raise WrongThreadError(f"The journal belongs to {self._owner.name}, and {caller.name} has called it.")
        return self._connection

    def close(self) -> None:
        """Close the file, then let go of the lock."""
        super().close()
        self._lock.close()

    def add(
        self,
        clips: Iterable[tuple[bytes, bytes]],
        now: float,
        *,
        force: bool = False,
    ) -> list[Job]:
        """Clips that were seen: one `arriving` job each, in one transaction.

        Args:
            clips: path and stat signature of each.
            now: seconds since the epoch.
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
            self._write.add_jobs(self._db, force=force, now=now)
            self._write.add_seen(self._db, now=now)
            self._write.brought(self._db)
        return jobs

    def advance(self, old: Job, changed: Job, event: str, now: float, data: Mapping[str, object] | None = None) -> Job:
        """Change a job, and note why: one transaction.

        Args:
            old: the job as the caller knows it.
            changed: the job as it is to be.
            event: a name from voice.SENTENCES.
            now: seconds since the epoch.
            data: what else is worth keeping with the event.

        Raises:
            StaleJobError: it is no longer in that state or run.
            JournalError: there is no such transition.
        """
        new = dataclasses.replace(changed, updated_at=now)
        if new.state != old.state and not may_go(old.state, new.state):
            raise JournalError(f"Job {old.id} cannot go from {old.state} to {new.state} ({event}).")
        with self._transaction():
            row = dataclasses.asdict(new) | {"was": str(old.state), "was_run": old.run_id, "state": str(new.state)}
            row["waiting_on"] = str(new.waiting_on) if new.waiting_on else None
            if self._write.advance(self._db, **row) != 1:
                raise StaleJobError(f"Job {old.id} is no longer {old.state} in run {old.run_id} ({event}).")
            self._note(new, old.state, event, now, data or {})
            if new.ended:
                self._write.drop_progress(self._db, job=new.id)
        return new

    def note(self, job: Job, event: str, now: float, data: Mapping[str, object] | None = None) -> None:
        """Something worth keeping about a job that changes nothing."""
        with self._transaction():
            self._note(job, job.state, event, now, data or {})

    def save_grace(self, left: Mapping[int, float], now: float) -> None:
        """Keep what is left of some jobs' grace, so that a restart neither grants it anew nor forgets it."""
        with self._transaction():
            self._write.save_grace(self._db, [{"id": n, "grace_left": s, "now": now} for n, s in left.items()])

    def save_signatures(self, job_id: int, *, source_stat: bytes | None = None, spec_stat: bytes | None = None) -> None:
        """A clip or its JSON was touched and holds the same: remember that, so that it is not read again."""
        with self._transaction():
            if source_stat is not None:
                self._write.save_source_stat(self._db, id=job_id, source_stat=source_stat)
            if spec_stat is not None:
                self._write.save_spec_stat(self._db, id=job_id, spec_stat=spec_stat)

    def set_hook(self, run: HookRun) -> None:
        """How a hook of a job stands."""
        with self._transaction():
            self._write.set_hook(self._db, **dataclasses.asdict(run) | {"state": str(run.state)})

    def set_progress(self, job_id: int, data: Mapping[str, object], now: float) -> None:
        """How far a job is."""
        with self._transaction():
            self._write.set_progress(self._db, job=job_id, at=now, data=json.dumps(data))

    def set_facts(self, **facts: object) -> None:
        """What the daemon says of itself."""
        with self._transaction():
            for name, value in facts.items():
                self._write.set_fact(self._db, name=name, value=json.dumps(value))

    def give_base_back(self, path: bytes) -> None:
        """Let another clip have the base of one that is gone and never came out."""
        with self._transaction():
            if not self._read.has_done(self._db, path=path):
                self._write.drop_base(self._db, path=path)

    def _choose_bases(self, paths: Collection[bytes]) -> tuple[Collection[bytes], dict[bytes, bytes]]:
        """The base of each clip: the one that it has, or the first that is free; and the clips that have theirs."""
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
        """Make all changes of the block one transaction: a commit costs a sync of the disk.

        Only for changes that nothing outside depends on yet. An exception takes the whole block back; of a block
        within another, that block alone.
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
        """Take back what the block changed, and no more, where it fails. Savepoints of one name nest."""
        db, before = self._db, len(self._steps)
        self._run("SAVEPOINT block")
        try:
            yield
            self._run("RELEASE block")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk may have ended all of it
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
            with in_words():
                self._db.execute(statement)

        self._step(act)

    def _step(self, act: Callable[[], Any]) -> Any:  # noqa: ANN401 - as the statement has it
        """Do a step of a transaction. Where the disk refuses it, wait, and do all steps so far once more before it.

        Raises:
            JournalFailed: it is not waited for, or what the steps gave is not what they gave before.
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
        with suppress(sqlite3.Error):  # it is what failed that counts
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


def connect(file: Path, fresh: Callable[[], None] = lambda: None) -> sqlite3.Connection:
    """The one connection that writes; see `Journal.open`."""
    missing = not file.exists() or not file.stat().st_size
    if missing:
        fresh()
    try:
        with ExitStack() as undo:
            db = sqlite3.connect(file, isolation_level=None, timeout=10)
            undo.callback(db.close)
            for pragma in (
                "journal_mode = WAL",
                "synchronous = FULL",  # a commit that was answered survives a power cut
                "foreign_keys = ON",
                "trusted_schema = OFF",
                "temp_store = MEMORY",
            ):
                db.execute(f"PRAGMA {pragma}")
            _check(db)
            if not missing and not db.execute("PRAGMA user_version").fetchone()[0]:
                fresh()  # one that was being made when povwatch was killed
            _migrate(db, file)
            db.execute(BROUGHT)
            undo.pop_all()
            return db
    except sqlite3.OperationalError as error:  # of the disk, not of what is in the file
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
            # executescript would commit what is open: the whole step is one script with its own transaction.
            db.executescript(f"BEGIN IMMEDIATE;\n{script.read_text()}\nPRAGMA user_version = {number};\nCOMMIT;")


def _plain(value: object) -> object:
    return layout.shown(value) if isinstance(value, bytes) else str(value)
