"""Looking at one clip in inputs/: is it there, does anybody write it, is it whole, what is in it."""

from __future__ import annotations

import os
import posixpath
from contextlib import suppress
from typing import TYPE_CHECKING

from povwatch.arrival.writers import Writers, writer_open
from povwatch.container import Report, examine
from povwatch.container.signature import HEAD, video_kind
from povwatch.core import layout
from povwatch.core.events import say
from povwatch.files.fs import closing, open_beneath
from povwatch.files.names import PARTIALS, held_back
from povwatch.files.scan import ClipUnreadable, sample
from povwatch.files.signature import changed_at
from povwatch.media.info import VideoInfo
from povwatch.media.run import EXAMINE, PROBE, WORK, call

if TYPE_CHECKING:
    import threading
    from pathlib import Path

    from povwatch.container import Kind
    from povwatch.files.signature import Signature

INSPECT_TIMEOUT = 1800.0
"""Seconds for a look at every packet: a day of video on a slow disk."""

DECODE_TIMEOUT = 4 * 3600.0
"""Seconds for decoding a clip from the front, in one thread."""

GLIMPSE_TIMEOUT = 300.0
"""Seconds until the first frame that decodes."""

EXAMINE_TIMEOUT = 600.0
"""Seconds for a look at an index, on a slow disk."""


class ClipFiles:
    """The clips, reached from the open inputs folder without following a symlink."""

    def __init__(self, root: Path, *, network: bool) -> None:
        """Make it; `open_root` comes before the first look.

        Args:
            root: inputs/.
            network: whether it is on a network file system, where leases mean nothing.
        """
        self.root = root
        self._network = network
        self._root_fd = -1
        self._blind_said = False

    def open_root(self) -> None:
        """Open inputs/, anew after it was away."""
        self.close_root()
        self._root_fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close_root(self) -> None:
        """Let go of inputs/, so that its disk may be taken away."""
        root, self._root_fd = self._root_fd, -1
        if root >= 0:
            os.close(root)

    def sample(self, path: bytes) -> Signature | None:
        """A clip's signature as it is now; None if it is not there.

        Raises:
            ClipUnreadable: it is there and cannot be opened.
        """
        return sample(self._root_fd, path)

    def sample_or_none(self, path: bytes) -> Signature | None:
        """The same; None too if it cannot be opened, which the next look says in words."""
        try:
            return self.sample(path)
        except ClipUnreadable:
            return None

    def exists(self, path: bytes) -> bool:
        """Whether anything has that name, as far as can be told."""
        try:
            os.stat(path, dir_fd=self._root_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def partial_beside(self, path: bytes, signature: Signature) -> bytes | None:
        """The unfinished copy that holds a clip back, if it has the clip's own name and an ending more.

        Args:
            path: the clip.
            signature: as it was sampled: an unfinished copy that is older is a left-over.
        """
        folder, name = layout.split(path)
        found: dict[bytes, int] = {}
        for ending in PARTIALS:
            with suppress(OSError):
                status = os.stat(path + ending, dir_fd=self._root_fd, follow_symlinks=False)
                found[name + ending] = status.st_ctime_ns
        partial = held_back(found, {name: changed_at(signature)}).get(name)
        return posixpath.join(folder, partial) if partial else None

    def is_written(self, path: bytes) -> bool:
        """Whether a local process may still write it."""
        fd = self._open(path)
        if fd is None:
            return False
        with closing(fd):
            writers = writer_open(fd, network=self._network)
        if writers is Writers.UNKNOWN and not self._network and not self._blind_said:
            self._blind_said = True
            say("writers-unseen", inputs=self.root)
        return writers is Writers.OPEN

    def report(self, path: bytes, size: int, *, glance: bool = False) -> Report | None:
        """What its container says of itself, also while it is being written; None if it cannot be opened any more.

        Args:
            path: the clip.
            size: in bytes, as sampled.
            glance: only how much has come is asked; see container.examine.

        Raises:
            TakesLonger: it is longer than the loop may wait: `have_examined` says it.
        """
        fd = self._open(path)
        if fd is None:
            return None
        with closing(fd):
            return examine(fd, size, glance=glance, brief=True)

    def kind(self, path: bytes) -> Kind | None:
        """Which container a clip begins as; None for none that is read, and for one that cannot be opened."""
        fd = self._open(path)
        if fd is None:
            return None
        with closing(fd), suppress(OSError):
            return video_kind(os.pread(fd, HEAD, 0))
        return None

    def _open(self, path: bytes) -> int | None:
        """Open a clip that was just sampled; None if it has gone or changed since, so that it is looked at again."""
        try:
            return open_beneath(self._root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None


def have_examined(cancelled: threading.Event, root: Path, path: bytes, size: int, *, glance: bool = False) -> Report:
    """Have a child say what `ClipFiles.report` would; takes a while."""
    args = {"root": str(root), "path": os.fsdecode(path), "size": size, "glance": glance}
    return Report.from_json(call("examine", args, timeout=EXAMINE_TIMEOUT, limits=EXAMINE, cancelled=cancelled))


def have_inspected(cancelled: threading.Event, root: Path, path: bytes, kind: str) -> VideoInfo:
    """Have a child look at every packet; takes a while.

    Args:
        cancelled: set when nobody wants to know any more.
        root: inputs/.
        path: the clip, below it.
        kind: of the container, as its own signature says.

    Returns:
        What it is; `undecided` where `have_decoded` has to tell.
    """
    args = {"root": str(root), "path": os.fsdecode(path), "kind": kind, "way": "quick"}
    return VideoInfo.from_json(call("inspect", args, timeout=INSPECT_TIMEOUT, limits=PROBE, cancelled=cancelled))


def have_decoded(cancelled: threading.Event, root: Path, path: bytes, kind: str, missing: str = "") -> VideoInfo:
    """Have a child decode everything from the front; may take as long as preparing the clip.

    Args:
        cancelled: set when nobody wants to know any more.
        root: inputs/.
        path: the clip, below it.
        kind: of the container.
        missing: what it lacks, if whatever decodes of it will do.
    """
    args = {"root": str(root), "path": os.fsdecode(path), "kind": kind, "way": "front", "missing": missing}
    return VideoInfo.from_json(call("inspect", args, timeout=DECODE_TIMEOUT, limits=WORK, cancelled=cancelled))


def have_glimpsed(cancelled: threading.Event, root: Path, path: bytes, kind: str) -> VideoInfo:
    """Have a child see whether any frame of an incomplete clip decodes: it is `complete` then."""
    args = {"root": str(root), "path": os.fsdecode(path), "kind": kind}
    return VideoInfo.from_json(call("glimpse", args, timeout=GLIMPSE_TIMEOUT, limits=PROBE, cancelled=cancelled))
