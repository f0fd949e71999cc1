"""The files beside the clips in inputs/. The only module that writes there.

Paths are relative to inputs/, and are opened without following a symlink.
New files get the group of a setgid folder, and mode 0664 under the umask, so that whoever uploaded the clip may edit
them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import posixpath
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core import looks
from povwatch.core.errors import EnvironmentFault, InputsRefused, Problem
from povwatch.core.layout import ERROR, OURS, bases, shown, split
from povwatch.core.machine_faults import Place, passing, translated
from povwatch.files.atomic import create, replace, supersede
from povwatch.files.fs import (
    FOLDER,
    closing,
    fsync_dir,
    make_dirs_beneath,
    open_beneath,
    read_at_most,
    rename_noreplace,
    walk_beneath,
)
from povwatch.files.names import is_clip_name, is_ignored_folder
from povwatch.files.signature import Signature, signature
from povwatch.spec.parse import SIZE_MAX, parse
from povwatch.spec.problems import invalid
from povwatch.spec.references import check_references, named_files

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from povwatch.core.layout import Beside
    from povwatch.spec.model import Spec
    from povwatch.spec.references import NamedFile

ERROR_MARK = b"povwatch: "
"""The beginning of our error files; a file that begins otherwise is not ours."""

LOCK_STALE = 3600.0
"""Seconds after which an editor's lock counts as stale."""

LOCKS = (b".%s.swp", b".%s.swo", b".%s.swx", b".#%s", b".~lock.%s#")
"""The locks of vim and nano, of Emacs (a dangling symlink), and of LibreOffice."""

READS_MAX = 3
"""How often a file is read again if it changes meanwhile."""


def _no_file(kind: str) -> Problem:
    return Problem(f"this is {kind}, not a plain file", "Put the file itself there, or move it away.")


UNREADABLE = {
    errno.EACCES: Problem("the file may not be read", "Let its group read and write it: chmod g+rw."),
    errno.ELOOP: _no_file("a symlink"),
    errno.ENXIO: _no_file("a socket or a device"),
}
"""Reasons why an existing JSON cannot be opened."""


class FolderGone(InputsRefused):
    """The clip's folder is gone, while the inputs folder exists."""


@dataclass(frozen=True, slots=True)
class SpecFile:
    """A JSON as it was read."""

    data: bytes
    """At most SIZE_MAX + 1 bytes."""
    digest: str
    """SHA-256 of `data` in hexadecimal."""
    signature: Signature
    """The file's stat signature when it was read."""


@dataclass(frozen=True, slots=True)
class Markers:
    """Which of the user's marker files exist beside a clip."""

    go: bool
    hold: bool


class InputsFolder:
    """Reads and writes the files beside clips."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write_spec(self, path: bytes, data: bytes) -> bool:
        """Write a JSON, atomically and synced; False if the name is taken.

        Raises:
            DiskFull: no space or quota.
            InputsRefused: any other refusal of the folder.
        """
        with self._folder_of(path, Place.SPEC) as (folder, name):
            return create(folder, name, data)

    def rewrite_spec(self, path: bytes, data: bytes, *, ours: Callable[[bytes], bool]) -> bytes | None:
        """Replace a JSON; another user's text is kept beside it, see `atomic.supersede`.

        Args:
            path: an existing JSON.
            ours: whether an old text is povwatch's own, unedited.

        Returns:
            Where the old text is kept; None if it was ours.

        Raises:
            DiskFull: no space or quota.
            InputsRefused: any other refusal of the folder.
        """
        with self._folder_of(path, Place.SPEC) as (folder, name):
            try:
                kept = supersede(folder, name, data, ours=ours)
            except FileExistsError as error:
                raise InputsRefused(
                    f"Somebody put another inputs/{shown(path)} there at the same moment; it stays.",
                    f"The one before is kept beside it as {shown(error.filename)}.",
                ) from error
            return None if kept is None else posixpath.join(split(path)[0], kept)

    def read_spec(self, path: bytes) -> SpecFile | None:
        """Read a JSON; None if there is none.

        Raises:
            SpecInvalid: it is no plain file, or may not be read.
            InputsRefused: inputs/ is away or fails.
        """
        with contextlib.suppress(FolderGone), self._folder_of(path, Place.READ_SPEC) as (folder, name):
            try:
                fd = open_beneath(folder, name, os.O_RDONLY | os.O_NONBLOCK)
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno not in UNREADABLE:
                    raise
                raise invalid(shown(name), [UNREADABLE[error.errno]]) from None
            with closing(fd):
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise invalid(shown(name), [_no_file("a folder, a FIFO or a device")])
                return _whole(fd)
        return None

    def exists(self, path: bytes) -> bool:
        """Whether anything has that name.

        Raises:
            InputsRefused: inputs/ is away or fails.
        """
        with contextlib.suppress(FolderGone), self._folder_of(path, Place.READ_SPEC) as (folder, name):
            return _lstat(folder, name) is not None
        return False

    def present(self, path: bytes) -> bool:
        """Whether anything has that name. An error other than "not found" counts as yes."""
        try:
            return self.exists(path)
        except EnvironmentFault:
            return True  # a failing disk does not prove that it is gone

    def write_error(self, path: bytes, text: str) -> bool:
        """Write an error file or correct its text; False if another user's file has the name.

        The text follows our mark. A file that has this text already is not touched.

        Raises:
            DiskFull: no space or quota.
            InputsRefused: any other refusal of the folder.
        """
        data = ERROR_MARK + text.encode("utf-8", "backslashreplace")
        with self._folder_of(path, Place.ERROR_FILE) as (folder, name):
            old = _ours(folder, name)
            if old is None:
                return create(folder, name, data)
            if old and old != data:
                replace(folder, name, data)
            return bool(old)

    def remove_error(self, path: bytes) -> bool:
        """Remove our error file; False if there is none.

        Raises:
            InputsRefused: the folder refuses.
        """
        with contextlib.suppress(FolderGone), self._folder_of(path, Place.ERROR_FILE) as (folder, name):
            if _ours(folder, name):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
                return True
        return False

    def markers(self, beside: Beside) -> Markers:
        """The markers beside a clip. They belong to the user; povwatch never removes them here."""
        with contextlib.suppress(FolderGone), self._folder_of(beside.go, Place.READ_SPEC) as (folder, go):
            return Markers(go=_is_file(folder, go), hold=_is_file(folder, split(beside.hold)[1]))
        return Markers(go=False, hold=False)

    def editor_open(self, path: bytes, now: float) -> bytes | None:
        """The lock file of an editor that has the JSON open; None if there is none.

        `now` (seconds since the epoch) tells stale locks.
        """
        with contextlib.suppress(FolderGone), self._folder_of(path, Place.READ_SPEC) as (folder, name):
            for lock in LOCKS:
                found = lock % name
                status = _lstat(folder, found)
                # A lock from the far future is no more believable than an old one.
                if status and not stat.S_ISDIR(status.st_mode) and abs(now - status.st_mtime) <= LOCK_STALE:
                    return found
        return None

    def check_references(self, spec: Spec, path: bytes, data: bytes = b"") -> Spec:
        """Check the files that a spec names, by the rules of `references.check_references`.

        `path` is the JSON, `data` its bytes, to find the line of a name.

        Returns:
            The spec, with the text of `prompt_path` as its `prompt`.

        Raises:
            SpecInvalid: lists each field and what is wrong with its file.
        """
        with self._folder_of(path, Place.READ_SPEC) as (folder, name):
            return check_references(folder, spec, file=shown(name), data=data)

    def spec_in(self, file: SpecFile, path: bytes, clip: bytes) -> Spec:
        """The spec of a clip's JSON (at `path`), once the files that it names are checked.

        Raises:
            SpecInvalid: it cannot be run.
            InputsRefused: inputs/ is away or fails.
        """
        spec = parse(file.data, clip_name=split(clip)[1], file=shown(split(path)[1]))
        return self.check_references(spec, path, file.data)

    def named_files(self, spec: Spec, path: bytes) -> dict[str, NamedFile]:
        """The files that a spec names, by field, as they are now; missing ones are left out.

        Raises:
            InputsRefused: inputs/ is away or fails.
        """
        with self._folder_of(path, Place.READ_SPEC) as (folder, _):
            return named_files(folder, split(path)[0], spec)

    def move_aside(self, path: bytes, to: bytes) -> None:
        """Move a clip without overwriting a file. Files beside it stay.

        Raises:
            FileExistsError: `to` exists.
            OSError: any other refusal of the folder.
        """
        (folder, name), (target, new) = split(path), split(to)
        with self._root() as root, closing(open_beneath(root, folder, FOLDER)) as here:
            with closing(make_dirs_beneath(root, target)) as there:
                rename_noreplace(here, name, there, new)
                fsync_dir(there)
            fsync_dir(here)

    def looks_beside(self, path: bytes, base: bytes) -> list[str]:
        """The looks that JSONs beside a clip seem to ask for; a clip of such a name may own some of them.

        Raises:
            InputsRefused: inputs/ is away or fails.
        """
        with contextlib.suppress(FolderGone), self._folder_of(path, Place.READ_SPEC) as (folder, _):
            names = [os.fsencode(name) for name in os.listdir(folder)]  # noqa: PTH208 - a descriptor
            specs = [name for name in names if name.endswith(looks.JSON)]
            owners = (looks.owner(name, lambda _, stem: path if stem == base else None) for name in specs)
            return [owner.look for owner in owners if owner is not None]
        return []

    def sweep(self) -> int:
        """Remove temporary files of an earlier run; returns their number."""
        count = 0
        with contextlib.suppress(EnvironmentFault):  # another start sweeps what cannot be listed
            for _, names, folder in self._walk():
                for name in names:
                    if name.startswith(OURS):
                        with contextlib.suppress(OSError):  # somebody else's after all, or gone: no harm
                            os.unlink(name, dir_fd=folder)
                            count += 1
        return count

    # -- left-overs, for `povwatch clean`

    def lonely_errors(self, suffixes: frozenset[bytes]) -> list[tuple[bytes, int]]:
        """Our error files without a possible clip beside them, with their sizes.

        Raises:
            InputsRefused: inputs/ is away.
        """
        found: list[tuple[bytes, int]] = []
        for path, names, folder in self._walk():
            errors = {name.removesuffix(ERROR): name for name in names if name.endswith(ERROR)}
            clips = (name for name in names if errors and is_clip_name(name, suffixes))
            there = {base for name in clips for base in bases(name)}
            lonely = {stem for stem in errors if stem not in there and not _of_look(stem, there, suffixes)}
            found += [(path + errors[base], len(data)) for base in lonely if (data := _ours(folder, errors[base]))]
        return sorted(found)

    def temporary(self, before: float) -> list[tuple[bytes, int]]:
        """Our temporary files that have not changed since `before` (seconds since the epoch), with their sizes.

        Raises:
            InputsRefused: inputs/ is away.
        """
        found = []
        for path, names, folder in self._walk():
            for name in names:
                status = _lstat(folder, name) if name.startswith(OURS) else None
                if status and stat.S_ISREG(status.st_mode) and status.st_mtime < before:
                    found.append((path + name, status.st_size))
        return found

    def remove_temporary(self, path: bytes) -> None:
        """Remove a temporary file.

        Raises:
            InputsRefused: the folder refuses.
        """
        with self._folder_of(path, Place.SPEC) as (folder, name):
            if name.startswith(OURS):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)

    def _walk(self) -> Iterator[tuple[bytes, list[bytes], int]]:
        """Walk all folders that may hold clips.

        Yields a folder's path with a trailing slash (empty for inputs/ itself), its file names, and its descriptor.
        """
        with self._folder_of(b"", Place.READ_SPEC) as (root, _):
            for path, names, folder in walk_beneath(root, is_ignored_folder):
                yield path + b"/" if path else b"", names, folder

    @contextlib.contextmanager
    def _root(self) -> Iterator[int]:
        # Opened anew every time: a share that was mounted again is another folder.
        fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        with closing(fd):
            yield fd

    @contextlib.contextmanager
    def _folder_of(self, path: bytes, place: Place) -> Iterator[tuple[int, bytes]]:
        """Open the folder of `path`, and give its descriptor and the file's name; OSErrors become PovwatchErrors."""
        folder, name = split(path)
        try:
            with self._root() as root:
                fd = _folder(root, folder)
            with closing(fd):
                yield fd, name
        except OSError as error:
            raise translated(error, place, f"inputs/{shown(path)}") from error


def _of_look(stem: bytes, bases: Collection[bytes], suffixes: frozenset[bytes]) -> bool:
    """Whether files of this stem may be those of a look of a clip that has one of these bases."""
    owner = looks.owner(stem + looks.JSON, lambda _, base: base if base in bases else None, suffixes=suffixes)
    return owner is not None and owner.look != looks.OWN


def _folder(root: int, path: bytes) -> int:
    try:
        return open_beneath(root, path, FOLDER)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise FolderGone(f"inputs/{shown(path)} is no folder (any more).", "It is tried again.") from error


def _ours(folder: int, name: bytes) -> bytes | None:
    """The bytes of our error file; empty if something else has the name, None if nothing has."""
    if _lstat(folder, name) is None:
        return None
    try:
        fd = open_beneath(folder, name, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        if passing(error):
            raise
        return b""  # not ours: ours we can read
    with closing(fd):
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return b""
        data = read_at_most(fd, SIZE_MAX)
        return data if data.startswith(ERROR_MARK) else b""


def _whole(fd: int) -> SpecFile:
    """The bytes of an open file, and the signature that belongs to them."""
    for _ in range(READS_MAX):
        before = _signature(fd)
        data = read_at_most(fd, SIZE_MAX + 1)
        if _signature(fd) == before:
            break
    return SpecFile(data, hashlib.sha256(data).hexdigest(), before)


def _signature(fd: int) -> Signature:
    return signature(os.fstat(fd))


def _lstat(folder: int, name: bytes) -> os.stat_result | None:
    """The status of a name in an open folder; None if nothing has the name."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENAMETOOLONG):
            return None
        raise


def _is_file(folder: int, name: bytes) -> bool:
    status = _lstat(folder, name)
    return status is not None and stat.S_ISREG(status.st_mode)
