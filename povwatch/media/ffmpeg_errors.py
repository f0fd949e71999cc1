"""Tells FFmpeg's errors that the machine causes from those that a file's contents cause.

FFmpeg has one set of error numbers for both: a truncated file gives an input/output error, and so does a broken disk.
Errors of the machine are raised here as Python's own OSError, which no reader of clips takes for damage.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import av.error

from povwatch.core.machine_faults import CAUSES

if TYPE_CHECKING:
    from collections.abc import Iterator

NEVER_CONTENTS = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN}
)
"""Errors that FFmpeg reports only if the kernel did."""

BLOCK = 2**20
"""Bytes that a file is read in at once."""


@contextmanager
def reading(fd: int) -> Iterator[None]:
    """A block in which FFmpeg reads a file.

    Args:
        fd: the file. If FFmpeg's error may be about its contents, all of it is read to test the disk itself.

    Raises:
        OSError: the machine refuses the read.
    """
    try:
        yield
    except av.error.FFmpegError as error:
        if error.errno in NEVER_CONTENTS:
            raise OSError(error.errno, os.strerror(error.errno)) from error
        if error.errno in {errno.EIO, errno.ENODEV, errno.ETIMEDOUT}:
            _read_through(fd)
        raise


@contextmanager
def writing() -> Iterator[None]:
    """A block in which FFmpeg writes a file of ours.

    Raises:
        OSError: the machine refuses the write.
    """
    try:
        yield
    except av.error.FFmpegError as error:
        if not isinstance(error, av.error.MemoryError | av.error.BlockingIOError) and error.errno in CAUSES:
            raise OSError(error.errno, os.strerror(error.errno)) from error
        raise


def _read_through(fd: int) -> None:
    at = 0
    while data := os.pread(fd, BLOCK, at):
        at += len(data)
