"""The files that the looks of a clip share: each is made once, under a key that says everything that decides its bytes.

An attempt makes a file in its own folder. The file then gets a further name (a hard link) in the clip's shared folder,
and from there a name in the folder of each later attempt. So no attempt depends on another one's folder, and the bytes
are there once. On a file system without hard links each attempt makes its own.

A file gets its name in the shared folder when it is whole, by a rename. Before each use it is compared with what was
kept: a file that is gone, or was cut short, is made anew. Nothing has to be on the disk for that: no later start reads
a shared folder, it deletes them all (Staging.sweep).
"""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.core.errors import PovwatchError
from povwatch.files import private
from povwatch.files.signature import same_content, signature
from povwatch.media.held import held

if TYPE_CHECKING:
    from collections.abc import Callable

NEW = ".new"
"""Suffix of a name that is not final yet."""


@dataclass(frozen=True, slots=True)
class _Kept:
    name: str
    signature: bytes
    about: dict[str, Any]


class SharedFiles:
    """The shared files of one clip. Threads of several attempts use them."""

    def __init__(self, folder: str, make_folder: Callable[[], object]) -> None:
        """Begin without files.

        Args:
            folder: absolute; it exists once there is a file.
            make_folder: makes it, if it is missing.
        """
        self._folder = folder
        self._make_folder = make_folder
        self._lock = threading.Lock()
        """Of the tables; it is never held while a file is made."""
        self._files: dict[str, _Kept] = {}
        self._makers: dict[str, threading.Lock] = {}
        self._dropped = False
        self._token = uuid.uuid4().hex
        """Tells its names from those of files that are kept after these were dropped."""

    def get(
        self, key: str, private_fd: int, name: str, make: Callable[[], dict[str, Any]], cancelled: threading.Event
    ) -> tuple[dict[str, Any], bool]:
        """Give an attempt a file: the one that is there, or else a new one, which is kept for others.

        Args:
            key: says everything that decides the file's bytes.
            private_fd: the attempt's folder.
            name: the file's name in it.
            make: makes it there, and returns what is known of it, as JSON values.
            cancelled: set when the attempt is no longer wanted.

        Returns:
            What is known of the file, and whether it was there.

        Raises:
            MediaStopped: `cancelled` was set while another attempt made the file.
        """
        with held(self._maker(key), cancelled, "The files of the clip"):
            about = self.take(key, private_fd, name)
            if about is not None:
                return about, True
            about = make()
            self.keep(key, private_fd, name, about)
            return about, False

    def take(self, key: str, private_fd: int, name: str) -> dict[str, Any] | None:
        """Give an attempt a file that is there; what is known of it, or None if it is not there as it was kept."""
        with self._lock:
            kept = self._files.get(key)
        if kept is None:
            return None
        with suppress(OSError, PovwatchError), private.opened(self._folder) as there:
            present = signature(os.stat(kept.name, dir_fd=there, follow_symlinks=False))
            if same_content(present, kept.signature):
                os.link(kept.name, name, src_dir_fd=there, dst_dir_fd=private_fd, follow_symlinks=False)
                return kept.about
        self.forget(key)
        return None

    def keep(self, key: str, private_fd: int, name: str, about: dict[str, Any]) -> None:
        """Keep a whole file of an attempt for others. If that cannot be, nothing is kept."""
        with self._lock:
            if self._dropped or key in self._files:
                return
        # without hard links, or while outputs/ is away, each has its own
        with suppress(OSError, PovwatchError):
            self._make_folder()
            shared = hashlib.sha256((self._token + key).encode()).hexdigest()[:32] + Path(name).suffix
            with private.opened(self._folder) as there:
                present = signature(os.stat(name, dir_fd=private_fd, follow_symlinks=False))
                with suppress(FileNotFoundError):
                    os.unlink(shared + NEW, dir_fd=there)
                os.link(name, shared + NEW, src_dir_fd=private_fd, dst_dir_fd=there, follow_symlinks=False)
                os.rename(shared + NEW, shared, src_dir_fd=there, dst_dir_fd=there)
                if self._remember(key, _Kept(shared, present, about)):
                    return
                os.unlink(shared, dir_fd=there)
        self._delete_if_dropped()

    def forget(self, key: str) -> None:
        """Have a file made anew when it is wanted again."""
        with self._lock:
            self._files.pop(key, None)

    def known(self) -> dict[str, dict[str, Any]]:
        """What is known of each file that is there, by its key."""
        with self._lock:
            return {key: kept.about for key, kept in self._files.items()}

    def drop(self) -> None:
        """Keep nothing any more. Somebody else deletes the folder."""
        with self._lock:
            self._dropped = True
            self._files.clear()

    def _remember(self, key: str, kept: _Kept) -> bool:
        """Have a file for others; False if all was dropped meanwhile."""
        with self._lock:
            if not self._dropped:
                self._files[key] = kept
            return not self._dropped

    def _delete_if_dropped(self) -> None:
        """Delete the folder if it was made after all was dropped. One with files of later looks stays."""
        if self._dropped:
            above, _, name = self._folder.rpartition("/")
            with suppress(OSError, PovwatchError), private.opened(above) as there:
                os.rmdir(name, dir_fd=there)

    def _maker(self, key: str) -> threading.Lock:
        """The lock of whoever makes a file."""
        with self._lock:
            return self._makers.setdefault(key, threading.Lock())
