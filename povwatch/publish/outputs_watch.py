"""Watches outputs/: whether it is there, is the same folder as before, and takes files. If not, no clip is started."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from povwatch.core.blockers import Blocker
from povwatch.core.errors import OutputsAway, OutputsNotWritable, PovwatchError
from povwatch.core.events import say
from povwatch.core.job import Waiting
from povwatch.core.layout import STAGING
from povwatch.core.machine_faults import CAUSES, Cause, Place, translated
from povwatch.files import private
from povwatch.files.health import Identity, identity

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.publish.staging import Staging

PROBE_MAX = 8.0
"""Seconds of the longest pause between two tries to make a file there: 1, 2, 4, 8."""

CHECK_EVERY = 1.0
"""Seconds between two checks: a job that starts in a mount point without its disk fills the wrong disk."""


class OutputsWatch:
    """Watches outputs/."""

    def __init__(self, staging: Staging) -> None:
        """Remember the present folder."""
        self._came_back = False
        self._staging = staging
        self._probe_at = 0.0
        self._probes = 0
        """How often in a row it took no file."""
        self._unwritable = ""
        """Why it took no file at the last try, as sentences."""
        self._outputs = staging.outputs
        self._private = self._outputs / os.fsdecode(STAGING)
        self._hidden = ""
        """Why the last check could not tell whether it is there, as sentences."""
        self._known: Identity | None = None
        self._known = self._identify()
        self._checked: tuple[int, ...] = ()
        """The private folder that passed the check for being povwatch's own."""
        self._next = 0.0
        self.blocker: Blocker | None = None
        """Why no job may start, if it is away or takes no files."""

    def tick(self, now: float) -> None:
        """Check, if it is time."""
        if now < self._next:
            return
        self._next = now + CHECK_EVERY
        found = self._identify()
        problem = self._problem(found) or self._refusal(now)
        if problem:
            if self.blocker is None:
                say("outputs-away", problem=problem)
            self.blocker = Blocker(Waiting.PAUSED, problem)
            return
        self._known = found
        if self.blocker is not None:
            self.blocker = None
            say("outputs-back", outputs=self._outputs)
            self._came_back = True

    def came_back(self) -> bool:
        """Whether it is back and takes files; True once each time."""
        came, self._came_back = self._came_back, False
        return came

    def refuses(self, now: float) -> bool:
        """Check now, after a refusal, whether outputs/ is away or takes no file. `blocker` has the reason.

        `now` is on the boot clock.
        """
        self._next = self._probe_at = 0.0
        self._unwritable = self._unwritable or "It has just refused a file."
        self.tick(now)
        return self.blocker is not None

    def _refusal(self, now: float) -> str:
        """Why it takes no file, as sentences; empty if it does, or if nobody has seen a refusal.

        Each check reads the permissions, which writes nothing. After a refusal it also makes a file, since a server, or
        a disk that the kernel gave up, may refuse what the permissions allow.
        """
        if not self._unwritable and os.access(self._folder_to_probe(), os.W_OK | os.X_OK, effective_ids=True):
            return ""
        if now < self._probe_at:
            return self._unwritable
        try:
            self._staging.probe()
        except (OutputsNotWritable, OutputsAway) as error:
            self._probes += 1
            self._probe_at = now + min(PROBE_MAX, 2.0 ** min(self._probes - 1, 10))
            self._unwritable = str(error)
        except PovwatchError:  # a full disk or too many open files are reported elsewhere
            self._unwritable, self._probes = "", 0
        else:
            self._unwritable, self._probes = "", 0
        return self._unwritable

    def _folder_to_probe(self) -> Path:
        return self._private if self._private.is_dir() else self._outputs

    def _identify(self) -> Identity | None:
        try:
            return identity(self._outputs)
        except OSError as error:
            code = error.errno or 0
            if CAUSES.get(code) is Cause.RESOURCES and self._known is not None:
                return self._known  # this says nothing about the folder
            self._hidden = str(translated(error, Place.PRIVATE_FOLDER, str(self._outputs))) if code in CAUSES else ""
            return None

    def _problem(self, found: Identity | None) -> str:
        """What is wrong with the folder, as sentences; empty if nothing is.

        A folder that was removed and made again at the same place counts as the same.
        """
        if found is None:
            return self._hidden or f"The outputs folder {self._outputs} is not there. Mount its disk, or make it again."
        if replaced := self._replaced():
            return replaced
        known = self._known
        if known is None or (found.fstype, found.source, found.fsid, found.mounted_at) == (
            *(known.fstype, known.source, known.fsid, known.mounted_at),
        ):
            return ""
        return (
            f"The outputs folder {self._outputs} is on {found.source} ({found.fstype}) and was on {known.source} "
            f"({known.fstype}): is its disk mounted? Mount it, or restart povwatch if this is meant."
        )

    def _replaced(self) -> str:
        """What replaced the private folder, in words; empty if the folder is povwatch's own, or does not exist yet.

        Each folder is checked once, since the check may make a file in it.
        """
        try:
            found = self._private.lstat()
            seen = (found.st_dev, found.st_ino, found.st_mode, found.st_uid)
            if seen != self._checked:
                with private.opened(f"{self._private}/"):
                    self._checked = seen
        except OutputsAway as error:
            return str(error)
        except OSError:
            return ""
        return ""
