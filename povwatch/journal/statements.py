"""The named statements of the SQL files. SQLite's errors become povwatch's."""

from __future__ import annotations

import functools
import sqlite3
from contextlib import contextmanager
from importlib.resources import files
from types import GeneratorType
from typing import TYPE_CHECKING, Any

import aiosql

from povwatch.core.errors import JournalError, JournalFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


_OF_A_FILE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}

_UNSYNCED = {sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC}


class Statements:
    """The statements of one file, as methods whose first argument is the connection."""

    def __init__(self, file: str, through: Callable[[Callable[[], Any]], Any] = lambda act: act()) -> None:
        """Load the statements.

        Args:
            file: in sql/.
            through: executes each statement, and may repeat it.
        """
        self._through = through
        self._loaded = _loaded(file)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        statement = getattr(self._loaded, name)

        @functools.wraps(statement)
        def run(*args: object, **values: object) -> Any:  # noqa: ANN401 - as the statement has it
            def act() -> Any:  # noqa: ANN401 - as the statement has it
                with translate_sqlite_errors():
                    found = statement(*args, **values)
                    return list(found) if isinstance(found, GeneratorType) else found

            return self._through(act)

        self.__dict__[name] = run  # later look-ups skip this method
        return run


@functools.cache
def _loaded(file: str) -> Any:  # noqa: ANN401 - aiosql makes its methods
    """The statements of a file, which hold no connection. Parsing them takes longer than opening a journal."""
    text = (files(__package__) / "sql" / file).read_text()
    return aiosql.from_str(text, "sqlite3", mandatory_parameters=False)


def journal_failed(error: sqlite3.Error, what: str, todo: str) -> JournalFailed:
    """The error, with two facts from SQLite's code: whether the file system refused it, and whether that was a sync."""
    code = getattr(error, "sqlite_errorcode", 0)
    return JournalFailed(what, todo, refused=code & 0xFF in _OF_A_FILE, unsynced=code in _UNSYNCED)


@contextmanager
def translate_sqlite_errors() -> Iterator[None]:
    """Turn an error of SQLite's in the block into povwatch's.

    Raises:
        JournalFailed: the disk is full or fails, or the file is damaged.
        JournalError: a rule of the schema was broken.
    """
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise JournalError(f"The journal refuses a change: {error}.") from error
    except sqlite3.Error as error:
        raise journal_failed(
            error,
            f"The journal cannot be written or read any more: {error}.",
            "Check the disk that paths.state is on (df, journalctl -k); what was under way goes on at the next start.",
        ) from error
