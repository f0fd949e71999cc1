"""Makes private copies of files in inputs/, since anybody who may write there can replace a file at any moment."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from povwatch.container.report import Kind
from povwatch.container.signature import HEAD, classify
from povwatch.core import layout
from povwatch.core.errors import SourceChanged
from povwatch.core.machine_faults import Place, translate_os_errors
from povwatch.files.fs import closing, open_beneath, read_at_most
from povwatch.files.signature import signature
from povwatch.media.errors import MediaStopped

if TYPE_CHECKING:
    import threading

    from povwatch.files.signature import Signature

NO_COPY_FILE_RANGE = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EIO, errno.ESTALE})
"""Errors of copy_file_range if the two file systems do not support it together, or if one of them fails.

Reading and writing then show which.
"""

TELLS_OF_FILES = frozenset({Kind.PLAYLIST, Kind.TEXT, Kind.EMPTY})
"""Contents that a video reader may take for a list of other files, and the empty file that a FIFO leaves."""

COPY_CHUNK = 64 * 1024 * 1024
"""Bytes copied between two checks of `cancelled`."""


def take_copy(
    root_fd: int, path: bytes, private_fd: int, to: str, cancelled: threading.Event, *, names: int | None = None
) -> Signature:
    """Copy a plain file below an open folder, following no symlink. Blocks are shared if the file system can.

    The file was checked before, but another one may have its name since.

    Args:
        path: relative to it.
        private_fd: the open private folder for the copy.
        to: the copy's name.
        cancelled: checked after each part.
        names: how many names (hard links) the file may have; any number by default.

    Returns:
        The file's signature after the copy.

    Raises:
        SourceChanged: it is gone, cannot be read, or is no longer a plain file with so many names.
        EnvironmentFault: the machine does not allow the copy at present.
        MediaStopped: the copy is no longer wanted.
    """
    clip = f"inputs/{layout.shown(path)}"
    with translate_os_errors(Place.SOURCE, clip):
        source = open_beneath(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    with closing(source):
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != (names or status.st_nlink):
            raise SourceChanged(f"{clip} is no longer the plain file that it was.")
        with translate_os_errors(Place.COPY, f"the private copy of {clip}"):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with closing(os.open(to, flags, 0o600, dir_fd=private_fd)) as target:
                while _copy_some(source, target, clip):
                    if cancelled.is_set():
                        raise MediaStopped("The copy was called off.")
        return signature(os.fstat(source))


def signature_of(root_fd: int, path: bytes) -> Signature:
    """The signature of a file below an open folder, reached without following a symlink.

    Raises:
        SourceChanged: it is gone, or cannot be read.
        EnvironmentFault: the machine does not allow it at present.
    """
    with (
        translate_os_errors(Place.SOURCE, f"inputs/{layout.shown(path)}"),
        closing(open_beneath(root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)) as fd,
    ):
        return signature(os.fstat(fd))


def refuse_text(private_fd: int, copy: str, path: bytes) -> None:
    """Refuse a private copy that is text: an engine's reader may take it for a list of other files to open.

    Args:
        path: the original, relative to inputs/.

    Raises:
        SourceChanged: it is text. The file that was checked under this name was not.
    """
    with closing(os.open(copy, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=private_fd)) as fd:
        kind, _ = classify(read_at_most(fd, HEAD))
    if kind in TELLS_OF_FILES:
        raise SourceChanged(f"inputs/{layout.shown(path)} is no longer the file that was judged.")


def _copy_some(source: int, target: int, clip: str) -> int:
    """Copy the next part; returns its bytes. The kernel shares blocks if the file system can."""
    try:
        return os.copy_file_range(source, target, COPY_CHUNK)
    except OSError as error:
        if error.errno not in NO_COPY_FILE_RANGE:
            raise
    with translate_os_errors(Place.SOURCE, clip):
        data = os.read(source, COPY_CHUNK)
    with open(target, "wb", closefd=False) as file:
        file.write(data)
    return len(data)
