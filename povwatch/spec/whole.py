"""Files that are whole and on the disk before they have their name."""

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
"""What link says where the file system has no hard links."""

LONGER = 65536
"""Bytes that are read beyond the new text's length: an old text that is longer than that is not ours."""


def create(folder: int, name: bytes, data: bytes) -> bool:
    """A new file, whole before it has its name; False if something has that name."""
    with _temporary(folder, data) as temporary:
        try:
            _name(folder, temporary, name)
        except FileExistsError:
            return False
    fsync_dir(folder)
    return True


def replace(folder: int, name: bytes, data: bytes) -> None:
    """Another text in a file of ours, in one step."""
    with _temporary(folder, data) as temporary:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    fsync_dir(folder)


def supersede(folder: int, name: bytes, data: bytes, *, ours: Callable[[bytes], bool]) -> bytes | None:
    """Another text in a file that may be somebody's work: what stood there is kept aside, as `.NAME.old`.

    It is moved first and read then, so that an edit of the last moment is kept too. Nothing is lost if this is cut
    short: the old text is under one of the two names.

    Args:
        folder: open.
        name: of a file that is there.
        data: the new text.
        ours: whether an old text is one that povwatch wrote and nobody touched; such a one is not kept.

    Returns:
        The name under which the old text is kept; None if it was ours.

    Raises:
        FileExistsError: somebody put a new file there at the same moment; it stays, and the old one is kept aside,
            under the error's `filename`.
        FileNotFoundError: the file is not there any more.
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
    """Give a file its name, if nothing else has it."""
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        rename_noreplace(folder, temporary, folder, name)


@contextlib.contextmanager
def _temporary(folder: int, data: bytes) -> Iterator[bytes]:
    """A file with `data` on the disk, under a temporary name that is gone afterwards."""
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
