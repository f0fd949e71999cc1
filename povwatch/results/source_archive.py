"""publish.source = "move": moves a published clip, with its JSON and markers, to publish.source_to.

A `clip.go` left behind would start the next clip of that name without any grace.

The move comes before `done`, so after a crash in between the next start makes it. A clip with several looks is moved
after the last of them, with all of their JSONs.
Files that are no longer the ones that ran stay: a replaced clip is another clip, and an edited JSON is needed for the
run that the edit asks for.
"""

from __future__ import annotations

import errno
import os
import posixpath
from contextlib import suppress
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.errors import PovwatchError, SpecInvalid
from povwatch.core.events import say
from povwatch.core.job import JobState
from povwatch.core.looks import stem
from povwatch.files.signature import identity_of, signature

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from povwatch.config.settings import Config
    from povwatch.core.job import Job
    from povwatch.spec.inputs_folder import InputsFolder

OVER = frozenset({JobState.DONE, JobState.CANCELLED})
"""The states of the other looks of a clip that may be moved."""

VERSIONS_MAX = 999
"""At most so many clips of one name are kept."""


def _nobody(_folder: bytes, _base: bytes) -> None:
    """The holder where no other clip is."""


class SourceArchive:
    """Moves finished clips, if the configuration asks for it."""

    def __init__(self, config: Config, folder: InputsFolder) -> None:
        self._config = config
        self._folder = folder

    def move(
        self, job: Job, others: Sequence[Job] = (), holder: Callable[[bytes, bytes], bytes | None] = _nobody
    ) -> None:
        """Move a job's clip and JSON. Safe to repeat. A failure is logged, and the clip stays.

        Args:
            others: the last jobs of the clip's other looks. The clip stays if one of them has not ended, or not well.
            holder: folder and base to the clip that has the base, if one has.
        """
        if self._config.publish.source != "move" or any(other.state not in OVER for other in others):
            return
        jobs = [job, *others]
        folder, name = layout.split(job.path)
        to = layout.filled(self._config.publish.source_to, folder=folder, name=name)
        try:
            if self._new_looks(jobs, holder) or not all(map(self._json_is_what_ran, jobs)):
                return
            if (moved := self._moved_before(job, to)) is None:
                if not self._clip_is_what_ran(job):
                    return
                moved = self._put(job.path, to, 1)
                say("moved", job, to=moved[0])
            folder, version = layout.split(moved[0])[0], moved[1]
            files = [layout.beside(one.path, one.stem) for one in jobs]
            for path in [path for beside in files for path in (beside.spec, beside.go, beside.hold)]:
                with suppress(FileNotFoundError):  # moved before, or never there
                    to = posixpath.join(folder, layout.split(path)[1])
                    self._put(path, to, version)
        except FileNotFoundError:
            return  # moved before, or taken away
        except (OSError, ValueError, PovwatchError) as error:
            say("move-failed", job, to=to, problem=_problem(error))

    def _new_looks(self, jobs: Sequence[Job], holder: Callable[[bytes, bytes], bytes | None]) -> bool:
        """Whether a JSON of another look is beside the clip, whose job is still to be added."""
        path, base = jobs[0].path, jobs[0].base
        new = set(self._folder.looks_beside(path, base)) - {one.look for one in jobs}
        holders = (holder(layout.split(path)[0], stem(base, look)) for look in new)
        return any(clip is None or not self._folder.present(clip) for clip in holders)

    def _clip_is_what_ran(self, job: Job) -> bool:
        """Whether the clip is unchanged since its claim."""
        return signature((self._config.paths.inputs / os.fsdecode(job.path)).lstat()) == job.source_stat

    def _json_is_what_ran(self, job: Job) -> bool:
        """Whether the clip's JSON means the same as at its claim. True if there is none."""
        path = layout.beside(job.path, job.stem).spec
        file = self._folder.read_spec(path)
        if file is None or job.state is JobState.CANCELLED:
            return True
        try:
            return self._folder.spec_in(file, path, job.path).digest() == job.spec_hash
        except SpecInvalid:
            return False

    def _moved_before(self, job: Job, to: bytes) -> tuple[bytes, int] | None:
        """Where the clip is, and its version, if a crash came between moving it and moving its JSON."""
        inputs = self._config.paths.inputs
        if job.source_stat is None or os.path.lexists(inputs / os.fsdecode(job.path)):
            return None
        for number in range(1, VERSIONS_MAX + 1):
            target = _version(to, number)
            try:
                status = (inputs / os.fsdecode(target)).lstat()
            except OSError:
                return None
            if identity_of(signature(status)) == identity_of(job.source_stat):
                return target, number
        return None

    def _put(self, path: bytes, to: bytes, version: int) -> tuple[bytes, int]:
        """Move a file to the first free version of a name, from `version` on. Returns the path and the version."""
        for number in range(version, VERSIONS_MAX + 1):
            target = _version(to, number)
            try:
                self._folder.move_aside(path, target)
            except FileExistsError:
                continue
            return target, number
        raise FileExistsError(f"{layout.shown(to)} and all its versions exist")


def _problem(error: Exception) -> str:
    """Why a file cannot be moved, and what to do, as sentences."""
    if isinstance(error, OSError) and error.errno == errno.EXDEV:
        return "That is on another file system. Name a folder on this one in publish.source_to; nothing is copied."
    return f"{(isinstance(error, OSError) and error.strerror) or error}."


def _version(to: bytes, number: int) -> bytes:
    root, suffix = posixpath.splitext(to)
    return to if number == 1 else b"%s_v%d%s" % (root, number, suffix)
