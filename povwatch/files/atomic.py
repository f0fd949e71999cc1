"""Writes files atomically: a file is complete and synced before it gets its name."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import secrets
from typing import TYPE_CHECKING

from povwatch.core.layout import OURS
from povwatch.files.fs import closing, fsync_dir, read_at_most, rename_noreplace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""The errors of link on file systems without hard links."""

LONGER = 65536
"""Bytes that are read beyond the new text's length. An old text that is longer is not ours."""


def create(folder: int, name: bytes, data: bytes) -> bool:
    """Create a file; False if the name is taken."""
    with _temporary(folder, data) as temporary:
        try:
            _name(folder, temporary, name)
        except FileExistsError:
            return False
    fsync_dir(folder)
    return True


def replace(folder: int, name: bytes, data: bytes) -> None:
    """Replace the text of a file of ours in one step."""
    with _temporary(folder, data) as temporary:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    fsync_dir(folder)


def supersede(folder: int, name: bytes, data: bytes, *, ours: Callable[[bytes], bool]) -> bytes | None:
    """Replace a file that may hold a user's work; the old file is kept as `.NAME.old`.

    The old file is renamed first and read afterwards, so that a last-moment edit is kept too. After a crash the old
    text has one of the two names.

    Args:
        folder: an open descriptor.
        name: of an existing file.
        ours: whether an old text is povwatch's own, unedited; such a text is not kept.

    Returns:
        The name under which the old text is kept; None if it was ours.

    Raises:
        FileExistsError: a new file appeared under the name at the same moment. It stays, and the error's `filename`
            names the old one.
        FileNotFoundError: the file is gone.
    """
    with _temporary(folder, data) as temporary:
        kept = _put_aside(folder, name)
        try:
            _name(folder, temporary, name)
        except FileExistsError:
            raise FileExistsError(errno.EEXIST, "another was put there", kept) from None
    fsync_dir(folder)
    fd = os.open(kept, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with closing(fd):
        old = read_at_most(fd, len(data) + LONGER)
    if not ours(old):
        return kept
    os.unlink(kept, dir_fd=folder)
    return None


def _put_aside(folder: int, name: bytes) -> bytes:
    for number in itertools.count(1):
        kept = b".%s.old%s" % (name, b"" if number == 1 else b"%d" % number)
        with contextlib.suppress(FileExistsError):
            rename_noreplace(folder, name, folder, kept)
            return kept
    raise AssertionError  # count has no end


def _name(folder: int, temporary: bytes, name: bytes) -> None:
    """Give the file its name, without overwriting."""
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        rename_noreplace(folder, temporary, folder, name)


@contextlib.contextmanager
def _temporary(folder: int, data: bytes) -> Iterator[bytes]:
    """A synced temporary file with `data`, which is removed at the end."""
    name = OURS + secrets.token_hex(8).encode()
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o664, dir_fd=folder)
    try:
        with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
            file.write(data)
            file.flush()
            os.fsync(fd)
        yield name
    finally:
        with contextlib.suppress(FileNotFoundError):  # renamed
            os.unlink(name, dir_fd=folder)
