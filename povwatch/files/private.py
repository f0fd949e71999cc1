"""Opens povwatch's own folders in outputs/, and refuses a folder that is not its own.

Whoever may write to outputs/ may rename .povwatch at any moment and put another folder in its place. So each piece of
work opens the folder once, checks that it is private, and uses the descriptor from then on. Only povwatch's user can
change the contents of a folder that belongs to that user and that nobody else may write to, and nobody else can make
such a folder. So the folder itself proves whose it is, after a reboot too; no names are compared.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import stat
from typing import TYPE_CHECKING

from povwatch.core.errors import OutputsAway, OutputsTaken
from povwatch.core.layout import STAGING, shown
from povwatch.files import fs

if TYPE_CHECKING:
    from collections.abc import Iterator

MODE = 0o700
"""Mode of a private folder. A setgid bit is inherited, so its files get the group of outputs/."""

_OTHERS = stat.S_IWGRP | stat.S_IWOTH
"""Permissions that nobody else may have. With an access list, the group's bits are the most that it grants."""

_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""Errors of making a file in a folder of somebody else."""


def enter(root: int, outputs: str, path: bytes, *, make: bool = False) -> int:
    """Open a private folder.

    Args:
        root: the open outputs folder.
        outputs: its path, for people.
        path: relative to it; each folder on the way must be private too.
        make: whether missing folders are made.

    Returns:
        A descriptor for listing and syncing, which the caller closes.

    Raises:
        OutputsTaken: one of them is not povwatch's, or is no folder.
        OSError: as os.mkdir and os.open; FileNotFoundError if one is missing.
    """
    device = os.fstat(root).st_dev

    def step(parent: int, name: bytes, so_far: list[bytes]) -> int:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, MODE, dir_fd=parent)
        fd = _folder(parent, name, so_far, outputs)
        with contextlib.ExitStack() as unless:
            unless.callback(os.close, fd)
            if reason := why_foreign(fd, device):
                raise _refused(f"{outputs}/{shown(b'/'.join(so_far))}", reason)
            unless.pop_all()
        return fd

    with fs.walked(root, fs.components(path), step) as folder:
        return os.open(b".", fs.FOLDER | os.O_CLOEXEC, dir_fd=folder)


@contextlib.contextmanager
def opened(folder: str) -> Iterator[int]:
    """A private folder by its absolute path, open until the block ends.

    Args:
        folder: usually below a .povwatch, as `publish` made it; elsewhere only its last component must be private.

    Raises:
        OutputsTaken: it is not povwatch's.
        OutputsAway: it is missing.
        OSError: as os.open.
    """
    above, staging, below = os.fsencode(folder).rpartition(b"/" + STAGING + b"/")
    outputs, path = (above, STAGING + b"/" + below) if staging else os.path.split(os.fsencode(folder))
    try:
        with fs.closing(os.open(outputs or b"/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
            fd = enter(root, os.fsdecode(outputs), path)
    except FileNotFoundError as error:
        raise OutputsAway(
            f"{shown(os.fsencode(folder))} is not there.", "Nobody but povwatch may remove or rename it."
        ) from error
    with fs.closing(fd):
        yield fd


def move(folder: str, name: str, to: str, to_name: str) -> None:
    """Move a file from a private folder into another one, never over another file.

    Raises:
        OutputsTaken, OutputsAway: as `opened`.
        OSError: as `fs.rename_noreplace`.
    """
    with opened(folder) as source, opened(to) as target:
        fs.rename_noreplace(source, os.fsencode(name), target, os.fsencode(to_name))


def is_foreign(folder: str) -> bool:
    """Whether something foreign is at a private folder's path, so that the state of povwatch's own is unknown."""
    try:
        with opened(folder):
            return False
    except OutputsTaken:
        return True
    except (OutputsAway, OSError):
        return False


def obstacle(where: str, name: bytes, parent: int | None = None) -> tuple[str, str]:
    """What is in a folder's place, and what to do about it, as two sentences.

    Args:
        where: its path, for people.
        name: its path, or its name in `parent`.
        parent: the open folder above it.
    """
    kind, todo = "no folder", "Remove it or move it away: povwatch makes that folder itself."
    with contextlib.suppress(OSError):
        mode = os.lstat(name, dir_fd=parent).st_mode
        kind = next((words for is_it, words in _KINDS if is_it(mode)), kind)
        if stat.S_ISLNK(mode):
            kind = f"a symlink to {shown(os.readlink(name, dir_fd=parent))}"
            todo = "Results are never written through a link: remove it or move it away."
    return f"{where} is {kind}, where a folder is needed.", todo


_KINDS = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


def why_foreign(fd: int, device: int) -> str:
    """Why an open folder is not private, as a clause; empty if it is.

    Args:
        fd: the folder.
        device: of outputs/. On another device, a foreign file system may lie about owners.
    """
    found = os.fstat(fd)
    if found.st_dev != device:
        return "is on another disk"
    if found.st_uid == os.geteuid() and not found.st_mode & _OTHERS:
        return ""
    owner, keeps_modes = _as_made_here(fd)
    if found.st_uid != owner:
        return f"belongs to {_name(found.st_uid)}"
    if keeps_modes and found.st_mode & _OTHERS:
        return f"may be written by others (mode {stat.S_IMODE(found.st_mode):04o})"
    return ""


def _folder(parent: int, name: bytes, so_far: list[bytes], outputs: str) -> int:
    where = f"{outputs}/{shown(b'/'.join(so_far))}"
    try:
        return os.open(name, fs.FOLDER | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            error.filename = b"/".join(so_far)
            raise
    raise OutputsTaken(*obstacle(where, name, parent))


def _refused(where: str, reason: str) -> OutputsTaken:
    if reason.startswith("may"):
        todo = f"If nobody has put anything there: chmod go-w {where}"
    elif reason.startswith("belongs"):
        todo = (
            "If povwatch runs as that user otherwise, run it so now. Else move that folder away; "
            "if povwatch's own was renamed, give it its name back: its work goes on."
        )
    else:
        todo = "Move it away. If povwatch's own folder was renamed, give it its name back: its work goes on."
    return OutputsTaken(f"{where} {reason}; nothing is read or written in it.", todo)


def _as_made_here(fd: int) -> tuple[int | None, bool]:
    """The owner of a file that povwatch makes in a folder, and whether the file keeps its mode.

    On a file system with its own owners and modes (SMB, FAT, NFS with all_squash) all such files look alike.
    """
    try:
        with fs.nameless(fd) as file:
            made = os.fstat(file)
    except OSError as error:
        if error.errno not in _NOT_OURS:
            raise
        return None, True
    return made.st_uid, not made.st_mode & 0o077


def _name(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"a user that is unknown here ({uid})"
