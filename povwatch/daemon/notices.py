"""The error file beside a clip: there while something is wrong, gone when it is right again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch import layout
from povwatch.errors import EnvironmentFault, SpecInvalid
from povwatch.job import JobState
from povwatch.spec import explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from povwatch.arrival.scan import Listing
    from povwatch.job import Job
    from povwatch.journal.reader import Known
    from povwatch.spec.beside import InputsFolder

BAD_ENDS = frozenset({JobState.REJECTED, JobState.FAILED, JobState.BLOCKED})
"""The ends that leave an error file."""

GOES_AWAY = "This file goes away by itself when that is mended."


class Notices:
    """Writes and removes error files. None of them is worth stopping for: what cannot be written is in the log."""

    def __init__(self, folder: InputsFolder) -> None:
        self._folder = folder

    def write(self, job: Job, happened: str, what: str, todo: str) -> bytes:
        """Say beside the clip what is wrong with it.

        Args:
            job: whose clip.
            happened: goes on from the clip's name: "is rejected".
            what: what was found.
            todo: what to do.

        Returns:
            The file's path, relative to inputs/.
        """
        _, name = layout.split(job.path)
        return self._put(job, f"{layout.shown(name)} {happened}.\n\n{what}\n\n{todo}\n\n{GOES_AWAY}\n")

    def invalid(self, job: Job, error: SpecInvalid) -> bytes:
        """Say beside the clip what is wrong with its JSON, with lines and columns."""
        return self._put(job, explain(error))

    def clear(self, job: Job) -> None:
        """Nothing is wrong with the clip any more."""
        self._remove(layout.beside(job.path, job.base).error)

    def tidy(self, known: Mapping[bytes, Known], listing: Listing) -> None:
        """Remove the error files of clips that ended badly and were deleted since.

        Args:
            known: the newest job of every clip that was ever seen.
            listing: what is in inputs/.
        """
        for path, last in known.items():
            if last.state not in BAD_ENDS or path in listing.clips or path in listing.links or listing.is_blind(path):
                continue
            error = layout.beside(path, last.base).error
            if error in listing.names and not _is_used(error, known, listing):
                self._remove(error)

    def _remove(self, file: bytes) -> None:
        try:
            self._folder.remove_error(file)
        except EnvironmentFault:
            return

    def _put(self, job: Job, text: str) -> bytes:
        file = layout.beside(job.path, job.base).error
        try:
            self._folder.write_error(file, text)
        except EnvironmentFault:
            return file
        return file


def _is_used(error_file: bytes, known: Mapping[bytes, Known], listing: Listing) -> bool:
    """Whether the error file belongs to a clip that is there, which took the base of one that is gone."""
    present = ((path, known.get(path)) for path in (*listing.clips, *listing.links))
    return any(last is not None and layout.beside(path, last.base).error == error_file for path, last in present)
