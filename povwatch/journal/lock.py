"""Allows one daemon on a journal: a lock file that holds its pid."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Self

from povwatch.core.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

FILE = "lock"
_PATIENCE = 1.0  # seconds; a command that checks for a daemon holds the lock for an instant


class JournalLock:
    """Held for as long as the daemon lives. The kernel releases it when the process ends, however it ends."""

    def __init__(self, state: Path) -> None:
        """Take the lock.

        Raises:
            ConfigError: another daemon has it; its pid is named.
            OSError: the file cannot be made or written.
        """
        self._fd = os.open(state / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        deadline = time.monotonic() + _PATIENCE
        while not _try(self._fd, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                pid = _read(self._fd)
                os.close(self._fd)
                raise ConfigError(
                    f"Another povwatch (pid {pid}) runs on the journal in {state}.",
                    f"Stop it first: systemctl stop povwatch, or kill {pid}.",
                )
            time.sleep(0.05)
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Release the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def holder(state: Path) -> int | None:
    """The pid of the daemon on this journal; None if none runs, 0 if it cannot be read."""
    try:
        fd = os.open(state / FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        return 0
    try:
        return None if _try(fd, fcntl.LOCK_SH) else _read(fd)
    finally:
        os.close(fd)


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(fd: int) -> int:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else 0
