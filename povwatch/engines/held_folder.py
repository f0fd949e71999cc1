"""Temporary folders of worker processes, which may be killed at any moment. Python 3.10, standard library alone.

A process holds its folder by a lock, which the kernel releases when the process ends, however it ends. Then whoever
comes next deletes the folder: the next process that makes one, and the daemon at its start and its end.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import tempfile
import weakref

PREFIX = "povwatch-guardrail-"
"""The beginning of their names, in the folder for temporary files."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class HeldFolder:
    """A folder of this process, for as long as this object lives."""

    def __init__(self) -> None:
        """Delete the folders that ended processes have left, then make this one.

        Raises:
            OSError: it cannot be made.
        """
        sweep()
        fd = None
        while fd is None:  # another process may take a new folder for one that was left
            self.name = tempfile.mkdtemp(prefix=PREFIX)
            fd = _held(self.name)
        self.delete = weakref.finalize(self, _delete, self.name, fd)


def sweep() -> None:
    """Delete this user's folders that no process holds."""
    for path in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), f"{PREFIX}*")):  # noqa: PTH118, PTH207 - pathlib is slow to import
        with contextlib.suppress(OSError):
            _delete_unheld(path)


def _held(path: str) -> int | None:
    """The folder, open and locked; None if it was deleted before that."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(path, FOLDER)
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.path.exists(path):  # noqa: PTH110
            return fd
        os.close(fd)
    return None


def _delete(path: str, fd: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(fd)


def _delete_unheld(path: str) -> None:
    fd = os.open(path, FOLDER)
    try:
        if os.fstat(fd).st_uid == os.geteuid():
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(fd)
