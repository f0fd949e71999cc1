"""Writes files in outputs/ that are povwatch's own and change, such as the page. Results never change: publisher.py.

What is written again and again is not synced. What never changes is: nobody would make it anew if it were empty after
a power cut. A file of another's is never replaced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from contextlib import ExitStack
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.errors import NotWritten
from povwatch.core.machine_faults import Place
from povwatch.files import fs
from povwatch.publish.faults import translate_output_errors
from povwatch.publish.staging import root_of

if TYPE_CHECKING:
    from pathlib import Path

MARK = b"povwatch"
"""Stands within the first HEAD bytes of each of these files, so that it is known as ours."""

HEAD = 512

SIZE_MAX = 2**26
"""Bytes of such a file; a longer one is not read."""


def read_own(outputs: Path, path: bytes) -> bytes | None:
    """The contents of a file; None if it is not there, or is no plain file of ours.

    Raises:
        PovwatchError: it cannot be read now.
    """
    data = _read(outputs, path)
    return data if data is not None and MARK in data[:HEAD] else None


def _read(outputs: Path, path: bytes) -> bytes | None:
    """The contents of a plain file, whosever it is; None if there is none."""
    with translate_output_errors(outputs, path, Place.PAGE), ExitStack() as opened:
        root = root_of(outputs, opened)
        try:
            fd = fs.open_beneath(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                return None
            raise
        opened.callback(os.close, fd)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        return fs.read_at_most(fd, SIZE_MAX)


def replace_own(outputs: Path, path: bytes, data: bytes) -> None:
    """Write a file in one step, in place of an earlier one of ours. Missing folders are made.

    One process alone may write a file at a time: its temporary file has a fixed name, so that a kill leaves one at
    most, which the next call removes.

    Args:
        path: relative to outputs/.
        data: with MARK in its first HEAD bytes.

    Raises:
        NotWritten: something else has the name.
        PovwatchError: it cannot be written now.
    """
    if MARK not in data[:HEAD]:
        raise ValueError(f"{path!r} would not be known as ours")
    folder, name = layout.split(path)
    with translate_output_errors(outputs, path, Place.PAGE), ExitStack() as opened:
        here = _folder(outputs, folder, opened)
        _refuse_another(outputs, here, path)
        part = layout.OURS + name
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part, dir_fd=here)
        _write(here, part, data)
        os.rename(part, name, src_dir_fd=here, dst_dir_fd=here)


def add_own(outputs: Path, path: bytes, data: bytes) -> None:
    """Write a file that never changes. One of that name stays as it is.

    Raises:
        PovwatchError: it cannot be written now.
    """
    folder, name = layout.split(path)
    with translate_output_errors(outputs, path, Place.PAGE), ExitStack() as opened:
        here = _folder(outputs, folder, opened)
        part = layout.OURS + name
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part, dir_fd=here)
        _write(here, part, data, sync=True)
        try:
            fs.rename_noreplace(here, part, here, name)
        except FileExistsError:
            os.unlink(part, dir_fd=here)


def refuse_another(outputs: Path, path: bytes) -> None:
    """Refuse to write a file whose name something else has.

    Raises:
        NotWritten: something else has the name.
        PovwatchError: that cannot be seen now.
    """
    with translate_output_errors(outputs, path, Place.PAGE), ExitStack() as opened:
        _refuse_another(outputs, _folder(outputs, layout.split(path)[0], opened), path)


def own_names(outputs: Path, folder: bytes) -> set[bytes]:
    """The names in a folder of ours; none if it is not there.

    Raises:
        PovwatchError: it cannot be listed now.
    """
    with translate_output_errors(outputs, folder, Place.PAGE), ExitStack() as opened:
        try:
            fd = fs.open_beneath(root_of(outputs, opened), folder, fs.FOLDER)
        except (FileNotFoundError, NotADirectoryError):
            return set()
        opened.callback(os.close, fd)
        return {os.fsencode(name) for name in os.listdir(fd)}  # noqa: PTH208 - a descriptor


def _folder(outputs: Path, folder: bytes, opened: ExitStack) -> int:
    fd = fs.make_dirs_beneath(root_of(outputs, opened), folder)
    opened.callback(os.close, fd)
    return fd


def _refuse_another(outputs: Path, here: int, path: bytes) -> None:
    """Refuse to replace what is not ours. After a power cut a file of ours may be empty, or as long in zeros."""
    name = layout.split(path)[1]
    try:
        os.stat(name, dir_fd=here, follow_symlinks=False)
    except FileNotFoundError:
        return
    data = _read(outputs, path)
    if data is None or (data.strip(b"\0") and MARK not in data[:HEAD]):
        raise NotWritten(
            f"{outputs}/{layout.shown(path)} is not povwatch's own, and stays as it is.",
            "Move it away; or, for the page, set enabled = false in [page].",
        )


def _write(folder: int, name: bytes, data: bytes, *, sync: bool = False) -> None:
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder)
    with open(fd, "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(data)
        if sync:
            file.flush()
            os.fsync(fd)
