"""What the looks of a clip share: made once, for whichever look comes first, and kept while another waits.

That is the private copy of the clip, the working copy and the sound, which every look needs (SharedCopies), and the
files that looks with the same settings need: see attempt/shared_files.py.

The next start deletes them (Staging.sweep): they are made again, once, when a look needs them.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from povwatch.attempt.shared_files import SharedFiles
from povwatch.core.errors import PovwatchError
from povwatch.core.job import WAITING, JobState
from povwatch.media.held import held

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from povwatch.attempt.attempt import Attempt
    from povwatch.core.job import Job
    from povwatch.journal.store import JobStore
    from povwatch.publish.staging import Staging

NEEDS = WAITING | {JobState.RUNNING}
"""The states of jobs that may still need the copies."""


class SharedCopies:
    """What the looks of one clip share. Threads of several attempts use it; the lock lets one make the copies."""

    def __init__(self, folder: str, make_folder: Callable[[], object]) -> None:
        """Begin without copies.

        Args:
            folder: absolute. It exists once there are copies.
            make_folder: makes it.
        """
        self.folder = folder
        self.files = SharedFiles(folder, make_folder)
        """What not every look of the clip needs: files that JSONs name, masks and controls."""
        self.lock = threading.Lock()
        self._make_folder = make_folder
        self._made: Attempt | None = None
        """The copies, once they are there."""
        self._dropped = False

    def give(
        self, attempt: Attempt, root: Path, clip: bytes, report: Callable[[float], None], cancelled: threading.Event
    ) -> bool:
        """Give an attempt its copies: those that are there, or else new ones, which are kept for others.

        Args:
            attempt: its files are still to be made, in its folder.
            root: inputs/.
            clip: relative to it.
            report: gets the progress, 0 to 1.
            cancelled: set when the attempt is no longer wanted.

        Returns:
            Whether the copies were there.

        Raises:
            PovwatchError: as Attempt.prepare.
        """
        with held(self.lock, cancelled, "The copies"):
            if self._made is not None and attempt.adopt(self._made):
                return True
            self._made = None
            attempt.prepare(root, clip, report, cancelled)
            with suppress(OSError, PovwatchError):  # without hard links, or outputs/ is away: each has its own
                if not self._dropped:
                    self._make_folder()
                    self._made = attempt.shared_as(self.folder)
            return False

    def drop(self) -> None:
        """Keep nothing any more. The lock is held; somebody else deletes the folder."""
        self._dropped = True
        self._made = None
        self.files.drop()


class ClipsShared:
    """The shared copies of all clips. The loop's thread alone calls it."""

    def __init__(self, store: JobStore, staging: Staging) -> None:
        self._store = store
        self._staging = staging
        self._of: dict[tuple[bytes, str | None, bytes | None], SharedCopies] = {}
        """By clip, its hash, and the signature for which `povwatch go --damaged` was said."""

    def of(self, job: Job) -> SharedCopies | None:
        """The copies that a job may share; None for a clip with its own look alone."""
        if job.path not in self._store.looks:
            return None
        key = (job.path, job.source_hash, job.damaged)
        if key not in self._of:
            name = hashlib.sha256(repr(key).encode()).hexdigest()[:32]
            folder = str(self._staging.shared_folder(name))
            self._of[key] = SharedCopies(folder, partial(self._staging.make_shared, name))
        return self._of[key]

    def wanted_after(self, job: Job) -> bool:
        """Whether another look of a job's clip still waits, which may take what this one makes."""
        return any(
            other.id != job.id and other.state in NEEDS and other.source_hash == job.source_hash
            for other in self._store.open_looks(job.path)
        )

    def tick(self) -> None:
        """Delete the copies that no look of their clip will need."""
        for path, source_hash, damaged in list(self._of):
            needed = any(job.state in NEEDS and job.source_hash == source_hash for job in self._store.open_looks(path))
            if not needed:
                self._drop((path, source_hash, damaged))

    def drop_all(self) -> None:
        """Delete all copies that no attempt has: the disk is full, or povwatch stops."""
        for key in list(self._of):
            self._drop(key)

    def _drop(self, key: tuple[bytes, str | None, bytes | None]) -> None:
        copies = self._of[key]
        if not copies.lock.acquire(blocking=False):  # a thread is at it; the next turn tries again
            return
        try:
            del self._of[key]
            copies.drop()
            with suppress(PovwatchError):  # outputs/ is away: swept at the next start
                self._staging.delete_shared(copies.folder)
        finally:
            copies.lock.release()
