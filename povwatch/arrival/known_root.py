"""Which folder inputs/ was at the last start, kept in the journal: also then, an unmounted share is no emptied one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.files.health import Identity, RootGuard

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.journal import Journal


class KnownRoot:
    """The guard of inputs/, which knows the folder of the last start."""

    def __init__(self, journal: Journal, inputs: Path) -> None:
        self._journal = journal
        self._inputs = inputs
        self.guard = RootGuard(inputs, self._kept())

    def keep(self) -> None:
        """Remember the folder that is there now, if it is the one that is watched."""
        if self.guard.known is not None and self.guard.check():
            kept = {"path": str(self._inputs), "identity": self.guard.known.dumps()}
            self._journal.set_facts(inputs=kept)

    def _kept(self) -> Identity | None:
        """The folder of the last start, if it was at the same path."""
        kept = self._journal.fact("inputs")
        if not kept or kept["path"] != str(self._inputs):
            return None
        return Identity.loads(kept["identity"])
