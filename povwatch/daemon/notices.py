"""The error file beside a clip: there while something is wrong, gone when it is right again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch import layout
from povwatch.errors import EnvironmentFault, SpecInvalid
from povwatch.spec import explain

if TYPE_CHECKING:
    from povwatch.job import Job
    from povwatch.spec.beside import InputsFolder

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
        try:
            self._folder.remove_error(layout.beside(job.path, job.base).error)
        except EnvironmentFault:
            return

    def _put(self, job: Job, text: str) -> bytes:
        file = layout.beside(job.path, job.base).error
        try:
            self._folder.write_error(file, text)
        except EnvironmentFault:
            return file
        return file
