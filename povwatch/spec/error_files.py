"""The error file beside a clip: it exists while something is wrong with the clip.

Writes that inputs/ refuses are kept in the journal and repeated later, also after a restart.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from povwatch.core import layout
from povwatch.core.errors import EnvironmentFault, SpecInvalid
from povwatch.core.events import say
from povwatch.core.job import BAD_ENDS
from povwatch.core.looks import OWN, stem
from povwatch.core.machine_faults import ERROR_FILE_LATER
from povwatch.spec.error_texts import Case, Files, error_text
from povwatch.spec.problems import explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.core.job import Job
    from povwatch.files.scan import Listing
    from povwatch.journal import Journal
    from povwatch.journal.reader import Known
    from povwatch.spec.inputs_folder import InputsFolder

AGAIN_MAX = 20
"""How many writes are repeated at a time."""

REFUSED_MAX = 10_000
"""Beyond that, only the log has the error."""


FACT = "notices"
"""The journal's key for refused writes; older versions wrote them under it."""


class _Refused(NamedTuple):
    """A write that the folder refused."""

    clip: bytes
    text: str | None
    """None: the file is to be removed."""


class ErrorFiles:
    """Writes and removes error files. Failures are logged and never raised."""

    def __init__(self, folder: InputsFolder, journal: Journal, *, rescan: float) -> None:
        """`rescan`: the most seconds between two scans of inputs/, which the files name."""
        self._rescan = rescan
        self._folder = folder
        self._journal = journal
        kept = journal.fact(FACT) or []
        self._refused = {os.fsencode(file): _Refused(os.fsencode(clip), text) for file, clip, text in kept}
        """By the error file's path."""
        self._changed = False
        self._next = 0.0

    def write(self, job: Job, case: Case, what: str, todo: str) -> bytes | None:
        """Write what is wrong with a clip beside it.

        Returns:
            The file's path, relative to inputs/; None if it could not be written yet, or the name is taken.
        """
        return self._put(job.path, _file_of(job), error_text(case, _names(job), what, todo, rescan=self._rescan))

    def invalid(self, job: Job, error: SpecInvalid) -> bytes | None:
        """Write what is wrong with a clip's JSON beside it, with lines and columns; returns as `write`."""
        return self.write(job, Case.JSON, explain(error), "")

    def clear(self, job: Job) -> None:
        """Remove the clip's error file."""
        self._put(job.path, _file_of(job), None)

    def there(self, job: Job) -> bytes | None:
        """The path of a clip's error file; None if it could not be written yet."""
        file = _file_of(job)
        return None if file in self._refused else file

    def tick(self, now: float) -> None:
        """Repeat some of the refused writes; those that fail again go to the end.

        Call it only while inputs/ is there. No error file is written for a clip that is gone.
        """
        if now < self._next:
            return
        self._next = now + ERROR_FILE_LATER.first
        for file, (clip, text) in list(self._refused.items())[:AGAIN_MAX]:
            if text is None or self._folder.present(clip):
                self._put(clip, file, text)
            else:
                self._forget(file)
        self.save()

    def save(self) -> None:
        """Journal the refused writes."""
        if self._changed:
            kept = [(os.fsdecode(file), os.fsdecode(clip), text) for file, (clip, text) in self._refused.items()]
            self._journal.set_facts(**{FACT: kept})
            self._changed = False

    def remove_stale(
        self, known: Mapping[bytes, Known], looks: Mapping[bytes, Mapping[str, Known]], listing: Listing
    ) -> None:
        """Remove the error files of clips that ended badly and were then deleted, and of looks without their JSON.

        Args:
            known: the newest own job of every clip ever seen.
            looks: the newest jobs of their further looks.
            listing: what is there.
        """
        bad = [(path, look, last) for path, of in looks.items() for look, last in of.items() if last.state in BAD_ENDS]
        for path, look, last in bad:
            beside = layout.beside(path, stem(last.base, look))
            there = (path in listing.clips and beside.spec in listing.specs) or listing.is_blind(path)
            if not there and beside.error in listing.names and not _is_used(beside.error, known, listing):
                self._put(path, beside.error, None)
        for path, last in known.items():
            if last.state not in BAD_ENDS or path in listing.clips or path in listing.links or listing.is_blind(path):
                continue
            error = layout.beside(path, last.base).error
            if error in listing.names and not _is_used(error, known, listing):
                self._put(path, error, None)

    def _put(self, clip: bytes, file: bytes, text: str | None) -> bytes | None:
        """Write an error file, or remove it if there is no text. A refused write is repeated later.

        Returns:
            The file's path; None if the write was refused, or the file is not ours.
        """
        try:
            ours = self._folder.remove_error(file) if text is None else self._folder.write_error(file, text)
        except EnvironmentFault as error:
            if not self._refused:
                say("error-files-later", problem=str(error))
            refused = _Refused(clip, text)
            self._changed |= self._refused.pop(file, None) != refused
            if len(self._refused) < REFUSED_MAX:
                self._refused[file] = refused  # at the end
            return None
        self._forget(file)
        return file if ours else None

    def _forget(self, file: bytes) -> None:
        self._changed |= self._refused.pop(file, None) is not None


def _names(job: Job) -> Files:
    beside = layout.beside(job.path, job.stem)
    clip, spec, go = (layout.shown(layout.split(path)[1]) for path in (job.path, beside.spec, beside.go))
    return Files(clip, spec, go, own=job.look == OWN)


def _file_of(job: Job) -> bytes:
    return layout.beside(job.path, job.stem).error


def _is_used(error_file: bytes, known: Mapping[bytes, Known], listing: Listing) -> bool:
    """Whether the file belongs to a present clip, which took over the base of a deleted one."""
    present = ((path, known.get(path)) for path in (*listing.clips, *listing.links))
    return any(last is not None and layout.beside(path, last.base).error == error_file for path, last in present)
