"""The inputs folder: whether it is there. The journal remembers which folder it was.

So at a start, too, an unmounted share is no empty folder.
"""

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


class KnownRoot(RootGuard):
    """The inputs folder, compared with the one of the last start."""

    def __init__(self, journal: Journal, inputs: Path) -> None:
        self._journal = journal
        self.away: str | None = None
        """Why the folder cannot be watched now, as sentences; None if it can."""
        kept = journal.fact("inputs")
        same_path = kept is not None and kept["path"] == str(inputs)
        super().__init__(inputs, Identity.loads(kept["identity"]) if same_path else None)

    @property
    def blocker(self) -> Blocker | None:
        """Why no job may start or be finished, if the folder is away."""
        return None if self.away is None else Blocker(Waiting.INPUTS_AWAY, self.away)

    def lstat(self, path: bytes) -> os.stat_result | None:
        """The status of a path below the folder; None if nothing is there.

        Raises:
            OSError: the disk cannot tell.
        """
        try:
            return (self.path / os.fsdecode(path)).lstat()
        except OSError as error:
            if passing(error):
                raise
            return None

    def keep(self) -> None:
        """Remember the present folder, if it is the one that is watched."""
        if self.known is not None and self.check():
            self._journal.set_facts(inputs={"path": str(self.path), "identity": self.known.dumps()})
