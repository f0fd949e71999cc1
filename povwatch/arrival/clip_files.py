"""Reads clips in inputs/, briefly: whether one exists, is being written, and is whole. inspections.py reads longer."""

from __future__ import annotations

import os
import posixpath
from contextlib import suppress
from typing import TYPE_CHECKING

from povwatch.arrival.writers import Writers, writer_open
from povwatch.container import examine
from povwatch.container.signature import HEAD, video_kind
from povwatch.core import layout
from povwatch.core.events import say
from povwatch.files.fs import closing, open_beneath
from povwatch.files.names import PARTIALS, held_back
from povwatch.files.scan import ClipUnreadable, sample
from povwatch.files.signature import changed_at

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.container import Kind, Report
    from povwatch.files.signature import Signature


class ClipFiles:
    """Clips, opened relative to the inputs folder without following symlinks."""

    def __init__(self, root: Path, *, network: bool) -> None:
        """Open nothing yet; call `open_root` first. On a network file system leases mean nothing."""
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

        `size` is in bytes, as sampled. A glance only reports how much has arrived; see container.examine.

        Raises:
            TakesLonger: it takes longer than the loop may wait; see Inspection.EXAMINE.
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
