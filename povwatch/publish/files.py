"""Measures, compares and writes one staged or published file. Folders are open descriptors."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable
from typing import TypeAlias

from povwatch.core.errors import CheckFailed
from povwatch.core.layout import shown
from povwatch.files import fs
from povwatch.publish.faults import PublishStopped
from povwatch.publish.promise import Entry

NOT_A_FILE = frozenset({errno.ENOENT, errno.ELOOP, errno.ENXIO})
"""Errors of opening nothing, a symlink, or a socket."""


Stopped: TypeAlias = Callable[[], bool]
"""Whether the work is no longer wanted; asked while a large file is read."""

BLOCK = 1 << 22
"""Bytes read between two such questions."""


def _never() -> bool:
    return False


def sync_and_measure(folder: int, name: bytes, mode: int, stopped: Stopped = _never) -> Entry:
    """Measure a staged file and sync it.

    Args:
        folder: the open private folder.
        mode: the file's permissions afterwards.

    Returns:
        The file's entry, still without a target.

    Raises:
        CheckFailed: the file is missing, is no plain file, or has a second name somewhere.
        PublishStopped: the work is no longer wanted.
        OSError: the disk's own error.
    """
    with contextlib.ExitStack() as opened:
        try:
            fd = _opened(folder, name, opened)
        except OSError as error:
            if error.errno not in NOT_A_FILE:
                raise
            raise CheckFailed(f"The engine left no file {shown(name)}.") from error
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            # A second name may be the user's clip, whose mode povwatch must not change.
            raise CheckFailed(f"The engine left no plain file of its own as {shown(name)}.")
        if stat.S_IMODE(found.st_mode) != mode:
            with contextlib.suppress(PermissionError):  # a file system without modes
                os.fchmod(fd, mode)  # temporary files are often 0600: unreadable for the group
        digest = _sha256(fd, stopped)
        os.fsync(fd)
    return Entry(name, b"", found.st_size, digest)


def write(folder: int, name: bytes, data: bytes, mode: int) -> None:
    """Write a staged file and sync it."""
    fd = fs.open_beneath(folder, name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(fd)


def same(folder: int, name: bytes, entry: Entry, stopped: Stopped = _never) -> bool:
    """Whether a plain file of this name has the promised bytes. A symlink, folder or FIFO never has."""
    with contextlib.ExitStack() as opened:
        try:
            fd = _opened(folder, name, opened)
        except OSError as error:
            if error.errno in {*NOT_A_FILE, errno.EACCES}:
                return False
            raise
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != entry.size:
            return False
        return _sha256(fd, stopped) == entry.sha256


def exists(folder: int, name: bytes) -> bool:
    """Whether anything has this name."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _opened(folder: int, name: bytes, opened: contextlib.ExitStack) -> int:
    fd = fs.open_beneath(folder, name, os.O_RDONLY | os.O_NONBLOCK)  # a FIFO would block
    opened.callback(os.close, fd)
    return fd


def _sha256(fd: int, stopped: Stopped) -> str:
    sha = hashlib.sha256()
    with open(fd, "rb", closefd=False) as file:
        while data := file.read(BLOCK):
            if stopped():
                raise PublishStopped("It was called off while the result was read.", "It goes on at the next start.")
            sha.update(data)
    return sha.hexdigest()
