"""Lists what is in inputs/ now. Events are hints; a scan is the truth.

A scan opens no file and follows no symlink. 100,000 files take well under a second, most of it in lstat.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from povwatch.core import layout, machine_faults
from povwatch.core.errors import EnvironmentFault
from povwatch.files import fs
from povwatch.files.names import held_back, is_clip_name, is_ignored, is_ignored_folder, named_by_partial
from povwatch.files.signature import Signature, changed_at, signature

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.config.settings import Arrival

SPEC = b".json"

SAMPLE = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
"""Flags that open a FIFO or a terminal without blocking and without becoming its controlling process."""


class InputsAway(EnvironmentFault):
    """The inputs folder cannot be listed. Its contents are unknown, which does not mean empty."""


class ClipUnreadable(EnvironmentFault):
    """A clip exists and cannot be opened."""

    def __init__(self, what: str, todo: str = "", *, passing: bool = False) -> None:
        super().__init__(what, todo)
        self.passing = passing
        """Whether the error says nothing about the clip."""


@dataclass(slots=True)
class Listing:
    """The result of a scan. Paths are relative to the root."""

    clips: dict[bytes, Signature] = field(default_factory=dict)
    """Regular files with a clip's name."""
    specs: dict[bytes, Signature] = field(default_factory=dict)
    """Everything that is called `*.json`, also what is no plain file: reading it says so."""
    links: dict[bytes, Signature] = field(default_factory=dict)
    """Symlinks to clips, with the link's own signature. They are refused, never followed.

    Links to anything else, or to nothing, are left out.
    """
    held_back: dict[bytes, bytes] = field(default_factory=dict)
    """Clips with an unfinished file of the same name beside them that is not older; each with that file."""
    names: set[bytes] = field(default_factory=set)
    """All other regular files: markers (`.go`, `.hold`), error files, editors' locks."""
    unreadable: list[tuple[bytes, str]] = field(default_factory=list)
    """Folders that could not be listed, with the reason. Their contents are unknown, not gone."""

    def is_blind(self, path: bytes) -> bool:
        """Whether the path is in a folder that could not be listed, so that its absence means nothing."""
        return any(path.startswith(folder + b"/") for folder, _ in self.unreadable)


def scan(root: Path, config: Arrival) -> Listing:
    """List the clips and the files beside them, below the inputs folder.

    Raises:
        InputsAway: the root itself cannot be listed.
    """
    listing = Listing()
    suffixes = config.suffixes
    top = os.fsencode(root)
    folders = [b""]
    while folders:
        folder = folders.pop()
        try:
            folders += _folder(top, folder, listing, suffixes, recursive=config.recursive)
        except FileNotFoundError as e:
            if not folder:
                raise _away(root, e) from e  # any other folder was removed during the scan
        except OSError as e:
            if not folder:
                raise _away(root, e) from e
            listing.unreadable.append((folder, e.strerror or str(e)))
    return listing


def sample(root_fd: int, path: bytes) -> Signature | None:
    """The present signature of one file; None if it is gone, or no longer a plain file.

    Opening the file makes an NFS client ask the server rather than its cache.

    Args:
        root_fd: the open inputs folder.
        path: relative to it.

    Raises:
        ClipUnreadable: it exists and cannot be opened.
    """
    try:
        fd = fs.open_beneath(root_fd, path, SAMPLE)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as e:
        if _is_no_file(root_fd, path):
            return None
        todo = machine_faults.TODO.get(e.errno or 0, "Look at `journalctl -k`; it is tried again.")
        if not machine_faults.passing(e):
            todo = "Give povwatch's user the right to read it, and to enter the folders above it."
        raise ClipUnreadable(
            f"{layout.shown(path)} cannot be read: {e.strerror}.",
            todo,
            passing=machine_faults.passing(e),
        ) from e
    try:
        seen = os.fstat(fd)
    finally:
        os.close(fd)
    return signature(seen) if stat.S_ISREG(seen.st_mode) else None


def _folder(top: bytes, folder: bytes, listing: Listing, suffixes: frozenset[bytes], *, recursive: bool) -> list[bytes]:
    """List one folder. Returns its subfolders."""
    prefix = folder + b"/" if folder else b""
    below: list[bytes] = []
    clips: list[bytes] = []
    partials: dict[bytes, int] = {}
    with os.scandir(posixpath.join(top, folder)) as entries:
        for entry in entries:
            name = entry.name
            if name.endswith(SPEC) and not is_ignored(name) and not entry.is_file(follow_symlinks=False):
                _other(entry, prefix + name, listing)
            if entry.is_dir(follow_symlinks=False):
                if recursive and not is_ignored_folder(name):
                    below.append(prefix + name)
            elif entry.is_file(follow_symlinks=False):
                if is_ignored(name):
                    _partial(entry, partials)
                    listing.names.add(prefix + name)
                elif _file(entry, prefix + name, listing, suffixes):
                    clips.append(name)
            elif entry.is_symlink() and is_clip_name(name, suffixes) and not is_ignored(name):
                _link(entry, prefix + name, listing, suffixes)
    seen = {name: changed_at(listing.clips[prefix + name]) for name in clips} if partials else {}
    for clip, partial in held_back(partials, seen).items():
        listing.held_back[prefix + clip] = prefix + partial
    return below


def _file(entry: os.DirEntry[bytes], path: bytes, listing: Listing, suffixes: frozenset[bytes]) -> bool:
    """Note a regular file; True for a clip."""
    is_clip = is_clip_name(entry.name, suffixes)
    if not is_clip and not entry.name.endswith(SPEC):
        listing.names.add(path)
        return False
    try:
        seen = signature(entry.stat(follow_symlinks=False))
    except FileNotFoundError:  # removed during the scan
        return False
    (listing.clips if is_clip else listing.specs)[path] = seen
    return is_clip


def _other(entry: os.DirEntry[bytes], path: bytes, listing: Listing) -> None:
    """Note what has a JSON's name and is no plain file."""
    with contextlib.suppress(FileNotFoundError):  # removed during the scan
        listing.specs[path] = signature(entry.stat(follow_symlinks=False))


def _partial(entry: os.DirEntry[bytes], partials: dict[bytes, int]) -> None:
    """Note an unfinished file. Other ignored files are skipped."""
    if named_by_partial(entry.name) is not None:
        with contextlib.suppress(FileNotFoundError):  # finished during the scan
            partials[entry.name] = entry.stat(follow_symlinks=False).st_ctime_ns


def _link(entry: os.DirEntry[bytes], path: bytes, listing: Listing, suffixes: frozenset[bytes]) -> None:
    """Note a symlink to a clip. Names and stat are enough to tell; the target is not opened."""
    try:
        target = posixpath.basename(os.path.realpath(entry.path, strict=True))
        if entry.is_file(follow_symlinks=True) and is_clip_name(target, suffixes):
            listing.links[path] = signature(entry.stat(follow_symlinks=False))
    except OSError:  # it leads nowhere, in a circle, or into a forbidden folder
        return


def _is_no_file(root_fd: int, path: bytes) -> bool:
    """Whether something other than a file has the name: a symlink, a socket, a device."""
    try:
        parent = fs.open_beneath(root_fd, posixpath.dirname(path), os.O_PATH | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        return not stat.S_ISREG(os.stat(posixpath.basename(path), dir_fd=parent, follow_symlinks=False).st_mode)
    except OSError:
        return False
    finally:
        os.close(parent)


def _away(root: Path, e: OSError) -> InputsAway:
    return InputsAway(
        f"The inputs folder {layout.shown(os.fsencode(root))} cannot be listed: {e.strerror}.",
        "Mount it or create it again; nothing is cancelled meanwhile.",
    )
