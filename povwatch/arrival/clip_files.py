"""Looks at one clip in inputs/: whether it exists, is being written, is whole, and what it contains."""

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
"""Seconds for reading every packet: a day of video on a slow disk."""

DECODE_TIMEOUT = 4 * 3600.0
"""Seconds for decoding a clip from its beginning, in one thread."""

GLIMPSE_TIMEOUT = 300.0
"""Seconds until the first decoded frame."""

EXAMINE_TIMEOUT = 600.0
"""Seconds for reading an index, on a slow disk."""


class ClipFiles:
    """Clips, opened relative to the inputs folder without following symlinks."""

    def __init__(self, root: Path, *, network: bool) -> None:
        """Open nothing yet; call `open_root` first.

        Args:
            root: inputs/.
            network: whether it is on a network file system, where leases mean nothing.
        """
        self.root = root
        self._network = network
        self._root_fd = -1
        self._blind_said = False

    def open_root(self) -> None:
        """Open inputs/, again after it was away."""
        self.close_root()
        self._root_fd = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close_root(self) -> None:
        """Close inputs/, so that its disk can be unmounted."""
        root, self._root_fd = self._root_fd, -1
        if root >= 0:
            os.close(root)

    def sample(self, path: bytes) -> Signature | None:
        """A clip's present signature; None if it does not exist.

        Raises:
            ClipUnreadable: it exists and cannot be opened.
        """
        return sample(self._root_fd, path)

    def sample_or_none(self, path: bytes) -> Signature | None:
        """The same, but None if it cannot be opened either; the next `sample` reports that."""
        try:
            return self.sample(path)
        except ClipUnreadable:
            return None

    def exists(self, path: bytes) -> bool:
        """Whether anything has this name. An error other than "not found" counts as yes."""
        try:
            os.stat(path, dir_fd=self._root_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def partial_beside(self, path: bytes, signature: Signature) -> bytes | None:
        """The unfinished copy, named like the clip with a suffix, that the clip waits for; None if there is none.

        An unfinished copy that is older than the clip's signature is a left-over.
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
        """Whether a local process may still write the clip."""
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
        """The container's report, also while the clip is being written; None if it can no longer be opened.

        Args:
            path: the clip.
            size: in bytes, as sampled.
            glance: report only how much has arrived; see container.examine.

        Raises:
            TakesLonger: it takes longer than the loop may wait; use `have_examined`.
        """
        fd = self._open(path)
        if fd is None:
            return None
        with closing(fd):
            return examine(fd, size, glance=glance, brief=True)

    def kind(self, path: bytes) -> Kind | None:
        """The container that a clip's first bytes show; None if it is not supported, or the clip cannot be opened."""
        fd = self._open(path)
        if fd is None:
            return None
        with closing(fd), suppress(OSError):
            return video_kind(os.pread(fd, HEAD, 0))
        return None

    def _open(self, path: bytes) -> int | None:
        """Open a clip that was just sampled; None if it has gone or changed since. The next sample notices that."""
        try:
            return open_beneath(self._root_fd, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError:
            return None


def have_examined(cancelled: threading.Event, root: Path, path: bytes, size: int, *, glance: bool = False) -> Report:
    """Let a child process make the report of `ClipFiles.report`. Runs in a background thread."""
    args = {"root": str(root), "path": os.fsdecode(path), "size": size, "glance": glance}
    return Report.from_json(call("examine", args, timeout=EXAMINE_TIMEOUT, limits=EXAMINE, cancelled=cancelled))


def have_inspected(cancelled: threading.Event, root: Path, path: bytes, kind: str) -> VideoInfo:
    """Let a child process read every packet. Runs in a background thread.

    Args:
        cancelled: set when the answer is no longer wanted.
        root: inputs/.
        path: the clip, relative to it.
        kind: the container, from the clip's first bytes.

    Returns:
        What the clip is; `undecided` if `have_decoded` has to find out.
    """
    args = {"root": str(root), "path": os.fsdecode(path), "kind": kind, "way": "quick"}
    return VideoInfo.from_json(call("inspect", args, timeout=INSPECT_TIMEOUT, limits=PROBE, cancelled=cancelled))


def have_decoded(cancelled: threading.Event, root: Path, path: bytes, kind: str, missing: str = "") -> VideoInfo:
    """Let a child process decode everything from the beginning. It may take as long as preparing the clip.

    Args:
        cancelled: set when the answer is no longer wanted.
        root: inputs/.
        path: the clip, relative to it.
        kind: the container.
        missing: what the clip lacks, if whatever decodes of it is enough.
    """
    args = {"root": str(root), "path": os.fsdecode(path), "kind": kind, "way": "front", "missing": missing}
    return VideoInfo.from_json(call("inspect", args, timeout=DECODE_TIMEOUT, limits=WORK, cancelled=cancelled))


def have_glimpsed(cancelled: threading.Event, root: Path, path: bytes, kind: str) -> VideoInfo:
    """Let a child process find out whether any frame of an incomplete clip decodes; it is `complete` then."""
    args = {"root": str(root), "path": os.fsdecode(path), "kind": kind}
    return VideoInfo.from_json(call("glimpse", args, timeout=GLIMPSE_TIMEOUT, limits=PROBE, cancelled=cancelled))
