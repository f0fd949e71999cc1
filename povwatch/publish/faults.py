"""What can go wrong in outputs/, in words, and the translation of the file system's errors into them."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from povwatch.errors import AttemptFailed, DiskFull, OutputsAway, Permanent, PovwatchError, Transient
from povwatch.layout import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""No space on the disk, or none left of somebody's share of it."""


class TargetTaken(Transient):
    """A final name was taken after it had been chosen: `reseal` chooses another."""


class WriteFailed(AttemptFailed):
    """The disk did not take the bytes, so what was staged cannot be trusted any more."""


class PublishStopped(PovwatchError):  # noqa: N818 - an answer, not a failure
    """The work was called off while a file was read; what was promised stands."""


class OutputRefused(Permanent):
    """Nothing is written there: a symlink or a file has a folder's name, or we may not write.

    It does not tell people to retry: a promise is tried again by itself, and of a job that fails `endings` says it.
    """


@contextlib.contextmanager
def told(outputs: Path, path: bytes) -> Iterator[None]:
    """Turn an OSError of the block into one of the classes above.

    Args:
        outputs: The outputs folder.
        path: What the block works on, relative to `outputs`.

    Raises:
        PovwatchError: In place of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise translated(error, outputs, path) from error


def translated(error: OSError, outputs: Path, path: bytes) -> PovwatchError:
    """The error for people and for retry.py that an error of the file system means here."""
    where = f"{outputs}/{shown(path)}".rstrip("/")
    reason = error.strerror or str(error)
    if error.errno in FULL:
        return DiskFull(
            f"No space is left for {where} ({reason}).", "Free some; the queue goes on by itself when there is room."
        )
    if error.errno in {errno.ENOTDIR, errno.ELOOP}:
        walked = error.filename if isinstance(error.filename, bytes) else path
        return OutputRefused(
            f"{outputs}/{shown(walked)} is {_kind(outputs, walked)}, where a folder is needed.",
            "Results are never written through a link. Move it away.",
        )
    if error.errno == errno.EXDEV:
        return OutputRefused(
            f"{where} is on another disk than {outputs}, and a rename cannot cross that.",
            "Mount the disk as a whole as the outputs folder.",
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG}:
        return OutputRefused(
            f"{where} cannot be written ({reason}).",
            "Let povwatch's user write there, or change publish.layout or paths.outputs.",
        )
    if error.errno in {errno.ENOENT, errno.ESTALE, errno.ENODEV, errno.ENOTCONN}:
        gone = where if outputs.is_dir() else str(outputs)
        return OutputsAway(f"{gone} is not there ({reason}).", f"Is the disk of {outputs} mounted? Mount it again.")
    return WriteFailed(
        f"{where} could not be written: {reason}.",
        "The disk may be failing: look at `journalctl -k`. What was written is thrown away and made again.",
    )


def _kind(outputs: Path, path: bytes) -> str:
    """What stands in the way, in words."""
    at = os.path.join(os.fsencode(outputs), path)  # noqa: PTH118 - bytes
    try:
        mode = os.lstat(at).st_mode
        if stat.S_ISLNK(mode):
            return f"a symlink to {shown(os.readlink(at))}"  # noqa: PTH115 - bytes
    except OSError:
        return "no folder"
    return "a file" if stat.S_ISREG(mode) else "no folder"
