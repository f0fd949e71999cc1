"""Reads the journal, for the daemon and, read-only, for the commands."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from povwatch.core.command import command
from povwatch.core.errors import JournalError, JournalFailed
from povwatch.core.hook_record import HookRecord, HookState
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.looks import OWN
from povwatch.journal.lock import holder
from povwatch.journal.statements import Statements, translate_sqlite_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE = "journal.sqlite3"
SCHEMA_VERSION = 5
"""The number of the last file in sql/migrations/."""

LOOKS_SINCE = 4
"""The first version whose jobs have a look."""

_FIELDS = frozenset(field.name for field in dataclasses.fields(Job))


class Known(NamedTuple):
    """What the journal knows of a look of a clip without reading files: its newest job."""

    job: int
    base: bytes
    state: JobState
    source_stat: bytes | None
    spec_stat: bytes | None


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's history."""

    at: float
    event: str
    was: str | None
    state: str
    run_id: str | None
    data: dict[str, Any]


class JournalReader:
    """The journal's queries."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._connection.row_factory = sqlite3.Row
        self._read = Statements("read.sql")

    @property
    def _db(self) -> sqlite3.Connection:
        """The connection of every statement."""
        return self._connection

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def fill_in_looks(self) -> None:
        """Read a journal from before looks as one in which every clip has its own look alone. The file stays."""
        with translate_sqlite_errors():
            if self._db.execute("PRAGMA user_version").fetchone()[0] < LOOKS_SINCE:
                self._db.execute("PRAGMA temp_store = MEMORY")
                self._db.execute("CREATE TEMP VIEW jobs AS SELECT *, '' AS look FROM main.jobs")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def job(self, job_id: int) -> Job | None:
        """One job by its number."""
        return _job(self._read.job_by_id(self._db, id=job_id))

    def latest(self, path: bytes, look: str = OWN) -> Job | None:
        """The newest job of a look of a clip."""
        return _job(self._read.latest_of_path(self._db, path=path, look=look))

    def is_first(self, job: Job) -> bool:
        """Whether a clip had no job before this one."""
        return self._read.earlier_job(self._db, path=job.path, id=job.id) is None

    def done_before(self, job: Job) -> Job | None:
        """The newest job of a job's clip and look, before it, that has a result."""
        return _job(self._read.latest_done(self._db, path=job.path, look=job.look, id=job.id))

    def looks(self, path: bytes) -> list[Job]:
        """The newest job of each look of a clip, its own first."""
        return _jobs(self._read.latest_of_looks(self._db, path=path))

    def active(self) -> list[Job]:
        """Every job that has not ended: higher priority first, then older first."""
        return _jobs(self._read.active_jobs(self._db))

    def jobs(self, state: JobState | None = None) -> list[Job]:
        """Every job, or those in one state, oldest first."""
        rows = self._read.jobs_in_state(self._db, state=str(state)) if state else self._read.all_jobs(self._db)
        return _jobs(rows)

    def kept(self) -> list[Job]:
        """The newest jobs of looks that failed after generation."""
        return _jobs(self._read.kept_jobs(self._db))

    def jobs_since(self, since: float) -> list[Job]:
        """Every job that has not ended, or that changed since this time (seconds since the epoch), oldest first."""
        return _jobs(self._read.jobs_since(self._db, since=since))

    def known(self) -> dict[bytes, Known]:
        """The newest own job of every clip ever seen."""
        return self.known_and_looks()[0]

    def known_and_looks(self) -> tuple[dict[bytes, Known], dict[bytes, dict[str, Known]]]:
        """The newest own job of every clip ever seen, and the newest jobs of the other looks, by clip and look."""
        own: dict[bytes, Known] = {}
        others: dict[bytes, dict[str, Known]] = {}
        with _trusted():
            for row in self._read.known_clips(self._db):
                known = Known(row["id"], row["base"], JobState(row["state"]), row["source_stat"], row["spec_stat"])
                if row["look"] == OWN:
                    own[row["path"]] = known
                else:
                    others.setdefault(row["path"], {})[row["look"]] = known
        return own, others

    def done_run(self, job: Job, spec_hash: str, engine: str) -> Job | None:
        """The published run of a job's video and look with this spec by this engine, if there is one."""
        of_job = {"path": job.path, "look": job.look, "source_hash": job.source_hash}
        return _job(self._read.done_run(self._db, **of_job, spec_hash=spec_hash, engine=engine))

    def previews(self) -> list[Job]:
        """The newest jobs of looks that are published previews."""
        return _jobs(self._read.done_previews(self._db))

    def real_engine(self) -> str | None:
        """The kind of the real engine that ran last on this journal."""
        row = self._read.real_engine(self._db)
        return str(row["engine"]) if row else None

    def holder(self, folder: bytes, base: bytes) -> bytes | None:
        """The clip in a folder that has this base, if one has."""
        found = self._read.bases_in(self._db, folder=folder, first=base, last=base)
        return next((bytes(row["path"]) for row in found), None)

    def events(self, job_id: int) -> list[Event]:
        """A job's history, oldest first."""
        return [_event(row) for row in self._read.events_of(self._db, job=job_id)]

    def events_named(self, event: str, since: float = 0.0) -> list[tuple[int, Event]]:
        """Every event of one name, with its job."""
        return [(row["job"], _event(row)) for row in self._read.events_named(self._db, event=event, since=since)]

    def latest_events(self, event: str, limit: int) -> list[Event]:
        """The latest events of one name, oldest first."""
        return [_event(row) for row in self._read.latest_events(self._db, event=event, limit=limit)][::-1]

    def hooks(self, job_id: int) -> dict[str, HookRecord]:
        """A job's hooks that have begun, by name."""
        return {row["hook"]: _hook(row) for row in self._read.hooks_of(self._db, job=job_id)}

    def hooks_interrupted(self) -> list[HookRecord]:
        """The hooks that ran when povwatch ended."""
        return [_hook(row) for row in self._read.hooks_interrupted(self._db)]

    def hook_ran_for(self, hook: str, source_hash: str | None) -> bool:
        """Whether a hook is done for a clip with this hash, whatever the clip's name."""
        return bool(self._read.hook_ran_for(self._db, hook=hook, source_hash=source_hash))

    def hook_ran_for_look(self, hook: str, job: Job) -> bool:
        """Whether a hook is done for another look of a job's clip, as it is now."""
        of_job = {"path": job.path, "look": job.look, "source_hash": job.source_hash}
        return bool(self._read.hook_ran_for_look(self._db, hook=hook, **of_job))

    def hook_last_of(self, hook: str, path: bytes) -> str | None:
        """The hash of the clip, at this path, that a hook was last done for."""
        row = self._read.hook_last_of(self._db, hook=hook, path=path)
        return row["source_hash"] if row else None

    def progress(self, job_id: int) -> dict[str, Any] | None:
        """A running job's progress."""
        row = self._read.progress_of(self._db, job=job_id)
        return members(row["data"]) if row else None

    def fact(self, name: str) -> Any:  # noqa: ANN401 - whatever the daemon said
        """One fact that the daemon published of itself; None if it never did."""
        row = self._read.fact(self._db, name=name)
        with _trusted():
            return json.loads(row["value"]) if row else None

    def counts(self) -> dict[JobState, int]:
        """How many jobs there are in each state."""
        with _trusted():
            return {JobState(row["state"]): row["jobs"] for row in self._read.state_counts(self._db)}

    def waits(self) -> dict[str, int]:
        """How many jobs that have not ended wait on each reason."""
        with _trusted():
            return {row["waiting_on"]: row["jobs"] for row in self._read.wait_counts(self._db)}


def open_reader(state: Path) -> JournalReader:
    """Open the journal read-only, as the commands do.

    Raises:
        JournalError: there is no journal, or this user may not read it.
    """
    file = state / FILE
    try:
        file.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise JournalError(
            f"There is no journal at {file}.",
            "Start the daemon (script/run, or systemctl start povwatch), or name its configuration with --config.",
        ) from None
    except PermissionError:
        raise _no_right(state) from None
    try:
        return _opened(f"{file.absolute().as_uri()}?mode=ro")
    except JournalFailed as error:
        if not _is_of_rights(error):
            raise
        # A reader who may not write in the folder cannot make the -shm file that WAL needs. After a clean stop the
        # journal is a single file that may be read as it is; while the daemon runs it may not.
        wal = file.with_name(f"{FILE}-wal")
        if holder(state) is not None or (wal.exists() and wal.stat().st_size):
            raise _no_right(state) from error
    try:
        return _opened(f"{file.absolute().as_uri()}?immutable=1")
    except JournalFailed as error:
        raise _no_right(state) from error


def _opened(uri: str) -> JournalReader:
    """A reader whose first query succeeded.

    Raises:
        JournalFailed: it did not.
        JournalError: the daemon is only just making the journal.
    """
    with translate_sqlite_errors():
        connection = sqlite3.connect(uri, uri=True, timeout=5)
    reader = JournalReader(connection)
    try:
        reader.counts()
        reader.fill_in_looks()
    except JournalFailed as error:
        reader.close()
        if "no such table" in str(error.__cause__):
            raise JournalError("The journal is only just being made.", "Ask again in a moment.") from error
        raise
    return reader


def members(text: str | bytes | None) -> dict[str, Any]:
    """A JSON object of the journal; an empty one for None.

    Raises:
        JournalError: the journal is damaged.
    """
    with _trusted():
        found: dict[str, Any] = {} if text is None else dict(json.loads(text))
    return found


@contextlib.contextmanager
def _trusted() -> Iterator[None]:
    """Read what povwatch itself wrote.

    Raises:
        JournalError: povwatch did not write it: the file is damaged, or somebody changed it.
    """
    try:
        yield
    except (ValueError, TypeError, RecursionError) as error:
        raise JournalError(
            f"The journal holds what povwatch never writes ({type(error).__name__}: {error}): it is damaged.",
            f"Put back a copy of it, or make it anew: {command('rebuild')}",
        ) from error


def _is_of_rights(error: JournalFailed) -> bool:
    """Whether the file is sound, but this user lacks a right that SQLite needs."""
    code = getattr(error.__cause__, "sqlite_errorcode", None) or 0
    return code & 0xFF in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}


def _no_right(state: Path) -> JournalError:
    try:
        group = state.group()
    except (KeyError, OSError):
        group = "povwatch"
    return JournalError(
        f"You may not read the journal in {state}.",
        f"Join the group: sudo usermod -aG {group} $USER, then log in anew.",
    )


def _job(row: sqlite3.Row | None) -> Job | None:
    if row is None:
        return None
    values = {name: value for name, value in dict(row).items() if name in _FIELDS}  # an older journal has fewer
    with _trusted():
        values["state"] = JobState(values["state"])
    # Only shown: a reason that a newer povwatch wrote must not keep the daemon from starting.
    values["waiting_on"] = Waiting(values["waiting_on"]) if values["waiting_on"] in set(Waiting) else None
    for flag in ("hold", "go", "force"):
        values[flag] = bool(values[flag])
    return Job(**values)


def _jobs(rows: Any) -> list[Job]:  # noqa: ANN401 - the loader has no types
    return [job for row in rows if (job := _job(row))]


def _hook(row: sqlite3.Row) -> HookRecord:
    with _trusted():
        return HookRecord(**dict(row) | {"state": HookState(row["state"])})


def _event(row: sqlite3.Row) -> Event:
    with _trusted():
        state = JobState(row["state"])
    return Event(row["at"], row["event"], row["was"], state, row["run_id"], members(row["data"]))
