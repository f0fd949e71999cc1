"""The files that an attempt makes from its clip, each under a key that says everything that decides its bytes.

One that is there already is taken: that of the seed before it, in whose folder it is, or one that another look of the
clip has made (shared_files.py). It gets a further name (a hard link) in the attempt's folder.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from povwatch.core.errors import PovwatchError
from povwatch.files import private

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from povwatch.attempt.shared_files import SharedFiles


class By(StrEnum):
    """Who has made a file, in words."""

    THIS = "this look"
    SEED = "an earlier seed"
    """Of this look."""
    LOOK = "another look"

    @property
    def as_seen_later(self) -> By:
        """The same, as the next seed of the look says it."""
        return By.LOOK if self is By.LOOK else By.SEED


@dataclass(frozen=True, slots=True)
class Made:
    """A file that is there."""

    name: str
    """In the attempt's folder."""
    about: dict[str, Any]
    """What is known of it, as JSON values."""
    by: str = By.THIS


@dataclass(frozen=True, slots=True)
class MadeFiles:
    """The files of one attempt."""

    private_fd: int
    """Its folder."""
    made: dict[str, dict[str, Any]]
    """Those that are there, as Made in JSON, by their keys; filled here."""
    shared: SharedFiles | None
    """What the looks of the clip share; None if it has no further looks."""
    cancelled: threading.Event
    """Set when the attempt is no longer wanted."""
    folder_before: str = ""
    """The folder of the attempt that tried the seed before; empty without one."""
    made_before: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What that attempt has made."""

    def get(self, key: str, name: str, make: Callable[[], dict[str, Any]]) -> Made:
        """The file with this key, under this name: one that is there, or else a new one.

        Args:
            key: says everything that decides the file's bytes.
            name: the file's name in the attempt's folder.
            make: makes it there, and returns what is known of it.

        Raises:
            MediaStopped: the attempt was cancelled while another look made the file.
        """
        if (tried := self._of_seed_before(key, name)) is not None:
            return tried
        if self.shared is None:
            return self._noted(key, Made(name, make()))
        about, taken = self.shared.get(key, self.private_fd, name, make, self.cancelled)
        return self._noted(key, Made(name, about, By.LOOK if taken else By.THIS))

    def take(self, key: str, name: str) -> Made | None:
        """The file with this key, under this name, if it is there."""
        if (tried := self._of_seed_before(key, name)) is not None:
            return tried
        about = self.shared.take(key, self.private_fd, name) if self.shared is not None else None
        return None if about is None else self._noted(key, Made(name, about, By.LOOK))

    def keep(self, key: str, name: str, about: dict[str, Any]) -> None:
        """Keep a file that the attempt has made for its next seed, and for other looks."""
        self._noted(key, Made(name, about))
        if self.shared is not None:
            self.shared.keep(key, self.private_fd, name, about)

    def _of_seed_before(self, key: str, name: str) -> Made | None:
        if (found := self.made_before.get(key)) is None:
            return None
        known = Made(**found)
        with suppress(OSError, PovwatchError), private.opened(self.folder_before) as there:
            os.link(known.name, name, src_dir_fd=there, dst_dir_fd=self.private_fd, follow_symlinks=False)
            return self._noted(key, Made(name, known.about, By(known.by).as_seen_later))
        return None  # it is gone, or the file system has no hard links

    def _noted(self, key: str, made: Made) -> Made:
        self.made[key] = asdict(made)
        return made
