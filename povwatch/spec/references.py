"""Checks the files that a spec names: each must exist and be a plain file."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.container.signature import HEAD
from povwatch.core.errors import Problem
from povwatch.core.layout import shown
from povwatch.core.machine_faults import passing
from povwatch.files.fs import closing, open_beneath, read_at_most
from povwatch.files.signature import Signature, signature
from povwatch.spec.parse import SIZE_MAX, refused

if TYPE_CHECKING:
    from povwatch.spec.model import Spec

NEAR = "Put the file itself into the JSON's folder, or a folder below it."

REASONS = {
    errno.ENOENT: ("names a file that is not there", "Put it there, correct the name, or take the line out."),
    errno.ENOTDIR: ("goes through something that is no folder, or through a symlink", NEAR),
    errno.ELOOP: ("names a symlink", NEAR),
    errno.EACCES: ("names a file that povwatch may not read", "Let its group read it: chmod g+r."),
    errno.ENXIO: ("names a socket or a device", NEAR),
    errno.ENAMETOOLONG: ("has a name that is too long", "Give the file a shorter name."),
}


class _Unfit(Exception):  # noqa: N818 - what the file is
    """A named file that is refused: (message, todo)."""


def check_references(folder_fd: int, spec: Spec, *, file: str, data: bytes = b"") -> Spec:
    """Check that every file that a spec names can be read, and read the prompt from its file.

    Symlinks are not followed, and files with several hard links are refused: both would let a user read another's file.

    Args:
        folder_fd: the open folder of the JSON.
        file: the JSON's name, for messages.
        data: the JSON's bytes, to find the line of a name.

    Returns:
        The spec, with the text of `prompt_path` as its `prompt`, so that the text is frozen and hashed.

    Raises:
        SpecInvalid: lists each field and what is wrong with its file.
        OSError: the machine opens no files at present, or its disk fails, so the files cannot be judged.
    """
    problems = []
    for field, path in spec.referenced_paths().items():
        try:
            text = _check_file(folder_fd, path, prompt=field == "prompt_path")
        except _Unfit as error:
            message, todo = error.args
            problems.append(Problem(message, todo, field, found=f'"{shown(path.encode())}"'))
        else:
            if text is not None:
                spec = spec.model_copy(update={"prompt": text, "prompt_path": None})
    if problems:
        raise refused(problems, file=file, data=data)
    return spec


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a spec names, as it was seen."""

    path: bytes
    """Relative to inputs/."""
    signature: Signature
    head: bytes
    """Its first HEAD bytes."""


def named_files(folder_fd: int, folder: bytes, spec: Spec) -> dict[str, NamedFile]:
    """The files that a spec names, except its prompt, by field. Missing ones are left out.

    Args:
        folder_fd: the open folder of the JSON.
        folder: its path, relative to inputs/.
    """
    found = {}
    for field, path in spec.referenced_paths().items():
        try:
            fd = open_beneath(folder_fd, os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            continue
        with closing(fd):
            name = posixpath.join(folder, os.fsencode(path))
            found[field] = NamedFile(name, signature(os.fstat(fd)), read_at_most(fd, HEAD))
    return found


def _check_file(folder_fd: int, path: str, *, prompt: bool) -> str | None:
    """Check a named file; returns its text if it is a prompt."""
    try:
        # O_NONBLOCK: opening a FIFO must not wait for its writer.
        fd = open_beneath(folder_fd, os.fsencode(path), os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if passing(error):
            raise
        default = (f"names a file that cannot be opened: {error.strerror}", NEAR)
        raise _Unfit(*REASONS.get(error.errno or 0, default)) from error
    with closing(fd):
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise _Unfit("names a folder, a FIFO or a device", "Name a plain file.")
        if status.st_nlink != 1:
            raise _Unfit(f"names a file that has {status.st_nlink} names (hard links)", "Put a copy there instead.")
        if status.st_size == 0:
            raise _Unfit("names an empty file", "Fill it, or take the line out.")
        return _prompt(read_at_most(fd, SIZE_MAX + 1)) if prompt else None


def _prompt(data: bytes) -> str:
    if len(data) > SIZE_MAX:
        raise _Unfit(f"names a file of more than {SIZE_MAX:,} bytes", "A prompt is a few sentences.")
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise _Unfit("names a file that is not UTF-8", "Save it as UTF-8.") from error
    if not text:
        raise _Unfit("names a file with nothing but blanks in it", "Write the prompt into it.")
    return text
