"""FFmpeg's errors that the machine is the cause of, told from those that a file's contents are.

FFmpeg has one set of error numbers for both: a truncated file is an input/output error to it, and so is a broken disk.
What is the machine's doing leaves here as Python's own OSError, which no reader of clips takes for damage.
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
"""What FFmpeg says only because the kernel has."""

BLOCK = 2**20


@contextmanager
def reading(fd: int) -> Iterator[None]:
    """In the block FFmpeg reads a file.

    Args:
        fd: the file. Where FFmpeg's word may be about its contents, all of it is read to ask the disk itself.

    Raises:
        OSError: the machine does not let it be read.
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
    """In the block FFmpeg writes a file of ours.

    Raises:
        OSError: the machine does not let it be written.
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
