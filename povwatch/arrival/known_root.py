"""Remembers in the journal which folder inputs/ was. So at a start, too, an unmounted share is no empty folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from povwatch.core.blockers import Blocker
from povwatch.core.job import Waiting
from povwatch.core.machine_faults import passing
from povwatch.files.health import Identity, RootGuard

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.journal import Journal


class KnownRoot:
    """The inputs folder: whether it is there, and whether it is the folder of the last start."""

    def __init__(self, journal: Journal, inputs: Path) -> None:
        self._journal = journal
        self.inputs = inputs
        self.guard = RootGuard(inputs, self._kept())
        self.away: str | None = None
        """Why the folder cannot be watched now, as sentences; None if it can."""

    @property
    def blocker(self) -> Blocker | None:
        """Why no job may start or be finished, if the folder is away."""
        return None if self.away is None else Blocker(Waiting.INPUTS_AWAY, self.away)

    def present(self, path: bytes) -> bool:
        """Whether a clip exists. An error other than "not found" counts as yes; a folder that is away, as no."""
        try:
            return self.away is None and self.lstat(path) is not None
        except OSError:
            return True  # a failing disk does not prove that it is gone

    def lstat(self, path: bytes) -> os.stat_result | None:
        """The status of a path; None if nothing is there.

        Raises:
            OSError: the disk cannot tell.
        """
        try:
            return (self.inputs / os.fsdecode(path)).lstat()
        except OSError as error:
            if passing(error):
                raise
            return None

    def keep(self) -> None:
        """Remember the present folder, if it is the one that is watched."""
        if self.guard.known is not None and self.guard.check():
            kept = {"path": str(self.inputs), "identity": self.guard.known.dumps()}
            self._journal.set_facts(inputs=kept)

    def _kept(self) -> Identity | None:
        """The folder of the last start, if it was at the same path."""
        kept = self._journal.fact("inputs")
        if not kept or kept["path"] != str(self.inputs):
            return None
        return Identity.loads(kept["identity"])
