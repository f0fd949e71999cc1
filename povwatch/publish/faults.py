"""The errors of outputs/ that are not machine faults, and the translation of an OSError there."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from povwatch.core import machine_faults
from povwatch.core.errors import Permanent, PovwatchError, Transient
from povwatch.core.layout import shown
from povwatch.core.machine_faults import Place
from povwatch.files import private

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class TargetTaken(Transient):
    """A final name was taken after it had been chosen. `reseal` chooses another."""


class PublishStopped(PovwatchError):  # noqa: N818 - an answer, not a failure
    """The work was cancelled while a file was read. The promise stands."""


class OutputRefused(Permanent):
    """povwatch never writes there: a symlink or a file has a folder's name, or the name is too long.

    The error does not say how to retry: a promise is repeated by itself, and `attempt.failed` says it for failed jobs.
    """


@contextlib.contextmanager
def translate_output_errors(outputs: Path, path: bytes, place: Place = Place.PRIVATE_FOLDER) -> Iterator[None]:
    """Turn an OSError of the block into one of the classes above, or into machine_faults' error for it.

    Args:
        path: the file or folder, relative to `outputs`.
        place: see machine_faults.

    Raises:
        PovwatchError: in place of any OSError.
    """
    try:
        yield
    except OSError as error:
        raise translate_output_error(error, outputs, path, place) from error


def translate_output_error(
    error: OSError, outputs: Path, path: bytes, place: Place = Place.PRIVATE_FOLDER
) -> PovwatchError:
    """Translate a file system error into the error for people and for retry.py."""
    # Only what depends on the layout of outputs/ is judged here; all else is machine_faults.TABLE's.
    where = f"{outputs}/{shown(path)}".rstrip("/")
    if error.errno in {errno.ENOTDIR, errno.ELOOP}:
        walked = error.filename if isinstance(error.filename, bytes) else path
        at = os.path.join(os.fsencode(outputs), walked)  # noqa: PTH118 - bytes
        return OutputRefused(*private.obstacle(f"{outputs}/{shown(walked)}", at))
    if error.errno == errno.EXDEV:
        return OutputRefused(
            f"{where} is on another disk than {outputs}, and a rename cannot cross that.",
            "Mount the disk as a whole as the outputs folder.",
        )
    if error.errno == errno.ENAMETOOLONG:
        todo = "Change publish.layout or paths.outputs."
        return OutputRefused(f"{where} cannot be written ({error.strerror}).", todo)
    gone = error.errno == errno.ENOENT and not os.path.lexists(outputs)
    return machine_faults.translated(error, place, str(outputs) if gone else where)
