"""File operations that Python lacks in a safe form: no overwriting, no symlink on the way, synced.

Everything is relative to an open folder. A path is walked component by component, so a component that somebody swaps
for a symlink cannot lead elsewhere.
(openat2 would do this in one call, but a service with RestrictSUIDSGID gets ENOSYS for it.)
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import threading
from typing import TYPE_CHECKING

from povwatch.core.layout import OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RENAME_NOREPLACE = 1
"""From <linux/fs.h>."""

UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""Errors of renameat2 if the file system (NFS, some FUSE ones) or the kernel does not know the flag."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
"""Flags to open a folder for listing or syncing."""

_WALK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
"""Flags to open a folder on the way. As in any path, the right to search it is enough."""


def rename_noreplace(src_dir_fd: int, src: bytes, dst_dir_fd: int, dst: bytes) -> None:
    """Rename a file, never over another one.

    If the file system cannot do that in one step, a hard link and an unlink do it. They never overwrite either, but for
    a moment both names exist.

    Args:
        src_dir_fd: the open folder of `src`.
        src: a name, without a slash.
        dst_dir_fd: the open folder for `dst`, on the same mount.
        dst: a name, without a slash.

    Raises:
        FileExistsError: `dst` exists, whatever it is.
        OSError: any other error of renameat2 or link.
    """
    if b"\0" in src or b"\0" in dst:
        raise ValueError("embedded null byte")  # ctypes would cut the name there
    if _renameat2()(src_dir_fd, src, dst_dir_fd, dst, RENAME_NOREPLACE) == 0:
        return
    code = ctypes.get_errno()
    if code not in UNSUPPORTED:
        raise OSError(code, os.strerror(code), src, None, dst)
    os.link(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=False)
    os.unlink(src, dir_fd=src_dir_fd)


@contextlib.contextmanager
def nameless(folder: int) -> Iterator[int]:
    """A new file in an open folder, for the length of a block. Nothing of it is left.

    Raises:
        OSError: the folder takes no file.
    """
    try:
        fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno not in {errno.EISDIR, *UNSUPPORTED}:
            raise
        name = b"%s%d-%d" % (OURS, os.getpid(), threading.get_ident())  # NFS and some FUSE ones have no nameless files
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with closing(fd):
            os.unlink(name, dir_fd=folder)
            yield fd
        return
    with closing(fd):
        yield fd


def fsync_dir(fd: int) -> None:
    """Sync the names in an open folder.

    A file system that cannot sync a folder (EINVAL) has nothing to sync there. EIO and all other errors are raised.
    """
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def open_beneath(root_fd: int, path: bytes, flags: int, mode: int = 0o666) -> int:
    """Open a path below an open folder without following any symlink, including the last component.

    Args:
        root_fd: the open folder. `path` cannot lead out of it.
        path: relative, `/` between components; empty or `.` for the folder itself.
        flags: as for os.open; O_NOFOLLOW is added.
        mode: for a file that O_CREAT makes, under the umask.

    Returns:
        A file descriptor, which the caller closes.

    Raises:
        ValueError: the path is absolute, or has `..` or a null byte in it.
        OSError: as os.open; a symlink is ENOTDIR on the way and ELOOP at the end. `filename` is the path up to there.
    """
    *folders, name = components(path) or [b"."]
    with walked(root_fd, folders, _enter) as parent:
        return _open(name, flags | os.O_NOFOLLOW, mode, parent, [*folders, name])


def walk_beneath(
    root_fd: int, skip: Callable[[bytes], bool] = lambda _: False
) -> Iterator[tuple[bytes, list[bytes], int]]:
    """Every folder below an open folder, beginning with itself, however deeply nested. No symlink is followed.

    `os.walk` and `os.fwalk` recurse: a thousand nested folders end them with a RecursionError.

    Args:
        root_fd: the open folder.
        skip: whether a folder of this name is left out, with everything in it.

    Yields:
        The folder's path relative to `root_fd` (empty for itself), the names in it that are not folders, and its
        descriptor, which is closed afterwards. A folder that is gone or may not be read is left out.
    """
    paths = [b""]
    while paths:
        path = paths.pop()
        try:
            fd = open_beneath(root_fd, path, FOLDER)
        except OSError:
            continue
        with closing(fd):
            names: list[bytes] = []
            with contextlib.suppress(OSError), os.scandir(fd) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    if not entry.is_dir(follow_symlinks=False):
                        names.append(name)
                    elif not skip(name):
                        paths.append(path + b"/" + name if path else name)
            yield path, names, fd


def make_dirs_beneath(root_fd: int, path: bytes) -> int:
    """Open a folder below an open folder. Missing folders are made, and all are synced.

    New folders have mode 0777 under the umask and inherit a setgid group.

    Args:
        root_fd: the open folder, opened for reading.
        path: as for `open_beneath`.

    Returns:
        A descriptor of the last folder, opened for reading, which the caller closes.

    Raises:
        ValueError: as `open_beneath`.
        OSError: as os.mkdir and os.open; NotADirectoryError if something else, a symlink included, has a folder's name.
    """
    with walked(root_fd, components(path), _make) as folder:
        return os.open(b".", FOLDER, dir_fd=folder)


@contextlib.contextmanager
def walked(root_fd: int, folders: list[bytes], enter: Callable[[int, bytes, list[bytes]], int]) -> Iterator[int]:
    """The folder at the end of a walk, open until the block ends.

    Args:
        root_fd: where the walk begins.
        folders: the names on the way.
        enter: opens the next folder, from the one above, its name, and all names up to it.
    """
    current = root_fd
    try:
        for depth, name in enumerate(folders, start=1):
            onward = enter(current, name, folders[:depth])
            if current != root_fd:
                os.close(current)
            current = onward
        yield current
    finally:
        if current != root_fd:
            os.close(current)


@contextlib.contextmanager
def closing(fd: int) -> Iterator[int]:
    """Close a descriptor when the block ends."""
    try:
        yield fd
    finally:
        os.close(fd)


def read_at_most(fd: int, size: int) -> bytes:
    """The first `size` bytes of an open plain file; fewer if it is shorter."""
    data = b""
    while len(data) < size and (more := os.pread(fd, size - len(data), len(data))):
        data += more
    return data


def components(path: bytes) -> list[bytes]:
    """The names in a relative path.

    Raises:
        ValueError: the path could lead out of the folder that it is relative to.
    """
    if path.startswith(b"/"):
        raise ValueError(f"not a relative path: {path!r}")
    if b"\0" in path:
        raise ValueError(f"a null byte in a path: {path!r}")
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if b".." in names:
        raise ValueError(f"'..' in a path: {path!r}")
    return names


def _enter(parent: int, name: bytes, so_far: list[bytes]) -> int:
    return _open(name, _WALK, 0, parent, so_far)


def _make(parent: int, name: bytes, so_far: list[bytes]) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, dir_fd=parent)
    # An existing folder may be from before a crash, and its name may not be synced.
    fsync_dir(parent)
    return _open(name, FOLDER, 0, parent, so_far)


def _open(name: bytes, flags: int, mode: int, parent: int, so_far: list[bytes]) -> int:
    try:
        return os.open(name, flags, mode, dir_fd=parent)
    except OSError as error:
        error.filename = b"/".join(so_far)
        raise


@functools.cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int]:
    function = ctypes.CDLL(None, use_errno=True).renameat2  # glibc 2.28, musl 1.2.6 or later
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    function.restype = ctypes.c_int
    return function
