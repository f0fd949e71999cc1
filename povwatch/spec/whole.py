"""Files that are whole and on the disk before they have their name."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from typing import TYPE_CHECKING

from povwatch.fs import fsync_dir, rename_noreplace
from povwatch.layout import OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
"""What link says where the file system has no hard links."""


def create(folder: int, name: bytes, data: bytes) -> bool:
    """A new file, whole before it has its name; False if something has that name."""
    with _temporary(folder, data) as temporary:
        try:
            try:
                os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                rename_noreplace(folder, temporary, folder, name)
        except FileExistsError:
            return False
    fsync_dir(folder)
    return True


def replace(folder: int, name: bytes, data: bytes) -> None:
    """Another text in a file of ours, in one step."""
    with _temporary(folder, data) as temporary:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    fsync_dir(folder)


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
