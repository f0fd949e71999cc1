"""povwatch's own folders in outputs/: opened one after the other, and refused where one is not its own.

Whoever may write to outputs/ may rename .povwatch there at any moment, and put a folder of theirs in its place. So who
works in it opens it once, sees that it is private, and goes on by descriptor: whatever is renamed after that, nobody
else can change what is in a folder that belongs to povwatch's user and that no other may write to, and nobody else can
make one. Names are compared with nothing: a folder proves by itself whose it is, after a restart of the machine too.
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
"""Of such a folder. A setgid bit is inherited, so files in there get the group of outputs/."""

_OTHERS = stat.S_IWGRP | stat.S_IWOTH
"""The rights that nobody else may have. Where there is an access list, the group's are the most that it grants."""

_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
"""What making a file says in a folder of somebody else."""


def enter(root: int, outputs: str, path: bytes, *, make: bool = False) -> int:
    """Open a private folder.

    Args:
        root: The open outputs folder.
        outputs: Its path, for people.
        path: The private folder, below it; so is each folder on the way private.
        make: Whether those that are missing are made.

    Returns:
        A descriptor for listing and syncing, which the caller closes.

    Raises:
        OutputsTaken: One is somebody else's, or no folder at all.
        OSError: As os.mkdir and os.open: FileNotFoundError where one is missing.
    """
    device = os.fstat(root).st_dev

    def step(parent: int, name: bytes, so_far: list[bytes]) -> int:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, MODE, dir_fd=parent)
        fd = _folder(parent, name, so_far, outputs)
        with contextlib.ExitStack() as unless:
            unless.callback(os.close, fd)
            if strange := strangeness(fd, device):
                raise _refused(f"{outputs}/{shown(b'/'.join(so_far))}", strange)
            unless.pop_all()
        return fd

    with fs.walked(root, fs.components(path), step) as folder:
        return os.open(b".", fs.FOLDER | os.O_CLOEXEC, dir_fd=folder)


@contextlib.contextmanager
def room(folder: str) -> Iterator[int]:
    """A private folder by its whole path, open until the block ends.

    Args:
        folder: As `publish` gave it out, somewhere below a .povwatch; else its last name alone has to be private.

    Raises:
        OutputsTaken: It is not ours.
        OutputsAway: It is not there.
        OSError: As os.open.
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


def taken(folder: str) -> bool:
    """Whether something of somebody else's is where a private folder was, so that nothing can be said of ours."""
    try:
        with room(folder):
            return False
    except OutputsTaken:
        return True
    except (OutputsAway, OSError):
        return False


def in_the_way(where: str, name: bytes, parent: int | None = None) -> tuple[str, str]:
    """What stands where a folder is needed, and what to do about it, as two sentences.

    Args:
        where: Its path, for people.
        name: Its path, or its name in `parent`.
        parent: The open folder that it is in.
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


def strangeness(fd: int, device: int) -> str:
    """Why an open folder is not private, as a clause; empty if it is.

    Args:
        fd: The folder.
        device: That of outputs/: on another one somebody may have mounted what tells lies about owners.
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
    raise OutputsTaken(*in_the_way(where, name, parent))


def _refused(where: str, strange: str) -> OutputsTaken:
    if strange.startswith("may"):
        todo = f"If nobody has put anything there: chmod go-w {where}"
    elif strange.startswith("belongs"):
        todo = (
            "If povwatch runs as that user otherwise, run it so now. Else move that folder away; "
            "if povwatch's own was renamed, give it its name back: its work goes on."
        )
    else:
        todo = "Move it away. If povwatch's own folder was renamed, give it its name back: its work goes on."
    return OutputsTaken(f"{where} {strange}; nothing is read or written in it.", todo)


def _as_made_here(fd: int) -> tuple[int | None, bool]:
    """Whom a file that we make in a folder belongs to, and whether it keeps the mode that it is given.

    Where a file system has owners and modes of its own (SMB, FAT, NFS with all_squash), all that we make looks alike.
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
