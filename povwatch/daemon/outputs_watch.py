"""Whether outputs/ is there, and is the folder that it was: without it no clip is started, and it goes on by itself."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from povwatch import private
from povwatch.arrival.health import Identity, identity
from povwatch.daemon.runs.places import Hurdle
from povwatch.errors import OutputsAway
from povwatch.job import Waiting
from povwatch.layout import STAGING
from povwatch.voice import say

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LOOK_EVERY = 1.0
"""Seconds between two looks: a job that starts in a mount point without its disk fills the wrong one."""


class OutputsWatch:
    """Watches over outputs/."""

    def __init__(self, outputs: Path, back: Callable[[], None]) -> None:
        """Remember the folder as it is now.

        Args:
            outputs: the folder.
            back: told when it is there again.
        """
        self._back = back
        self._outputs = outputs
        self._staging = outputs / os.fsdecode(STAGING)
        self._known = self._look()
        self._seen: tuple[int, ...] = ()
        """The private folder that was judged to be one."""
        self._next = 0.0
        self.hurdle: Hurdle | None = None
        """Why no job may start, if it is away."""

    def tick(self, now: float) -> None:
        """Look, if it is time."""
        if now < self._next:
            return
        self._next = now + LOOK_EVERY
        found = self._look()
        problem = self._problem(found)
        if problem:
            if self.hurdle is None:
                say("outputs-away", problem=problem)
            self.hurdle = Hurdle(Waiting.PAUSED, problem)
            return
        self._known = found
        if self.hurdle is not None:
            self.hurdle = None
            say("outputs-back", outputs=self._outputs)
            self._back()

    def _look(self) -> Identity | None:
        try:
            return identity(self._outputs)
        except OSError:
            return None

    def _problem(self, found: Identity | None) -> str:
        """What is wrong with it, as sentences; empty if nothing is.

        A folder that was removed and made anew where it was is as good as the old one.
        """
        if found is None:
            return f"The outputs folder {self._outputs} is not there. Mount its disk, or make it again."
        if strange := self._strange():
            return strange
        known = self._known
        if known is None or (found.fstype, found.source, found.fsid, found.mounted_at) == (
            *(known.fstype, known.source, known.fsid, known.mounted_at),
        ):
            return ""
        return (
            f"The outputs folder {self._outputs} is on {found.source} ({found.fstype}) and was on {known.source} "
            f"({known.fstype}): is its disk mounted? Mount it, or restart povwatch if this is meant."
        )

    def _strange(self) -> str:
        """What somebody put in the place of the private folder, in words; empty if it is ours, or is not there yet.

        A folder is judged once: that may take a file of our own in it, to compare with.
        """
        try:
            found = self._staging.lstat()
            seen = (found.st_dev, found.st_ino, found.st_mode, found.st_uid)
            if seen != self._seen:
                with private.room(f"{self._staging}/"):
                    self._seen = seen
        except OutputsAway as error:
            return str(error)
        except OSError:
            return ""
        return ""
