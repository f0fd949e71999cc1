"""Starts a new run of an ended clip whose JSON was edited, without a new upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.errors import EnvironmentFault, SpecInvalid
from povwatch.core.events import say
from povwatch.core.job import CLAIMED, Job, JobState
from povwatch.spec import parse

if TYPE_CHECKING:
    from povwatch.arrival.stage import ArrivalStage
    from povwatch.files.scan import Listing
    from povwatch.journal.store import JobStore
    from povwatch.spec.inputs_folder import InputsFolder, SpecFile


class EditedSpecs:
    """Compares the JSON beside ended clips with the spec of their last run."""

    def __init__(
        self,
        store: JobStore,
        arrival: ArrivalStage,
        folder: InputsFolder,
    ) -> None:
        self._store = store
        self._arrival = arrival
        self._folder = folder
        self._late: dict[int, bytes] = {}
        """Running jobs whose JSON was edited meanwhile, each with the JSON's signature: one log line an edit."""

    def look(self, listing: Listing) -> None:
        """Take in every clip again whose JSON means something else than its last run."""
        for path in listing.clips:
            if path not in self._store.scope:
                continue
            known = self._store.known.get(path)
            if known is None or not (known.state.ended or known.state in CLAIMED):
                continue
            seen = listing.specs.get(layout.spec_beside(path, known.base))
            if seen is None or seen == known.spec_stat:
                continue
            try:
                if known.state.ended:
                    self._consider(self._store.job(known.job), seen)
                elif self._late.get(known.job) != seen:
                    self._late[known.job] = seen
                    self._say_late(self._store.job(known.job))
            except Exception as error:  # noqa: BLE001 - whatever it is, it costs this clip and no other
                self._store.mishaps.of(("respec", known.job), error)
        claimed = {job.id for job in self._store.claimed}
        self._late = {job: seen for job, seen in self._late.items() if job in claimed}

    def _consider(self, job: Job, seen: bytes) -> None:
        try:
            if self._says_the_same(job):
                self._store.touch(job, spec_stat=seen)
            else:
                self._arrival.again(job.path, self._store.clock.boot())
        except EnvironmentFault:
            return  # the folder is away, or the clip cannot be opened: the next rescan tries again

    def _say_late(self, job: Job) -> None:
        try:
            same = self._says_the_same(job)
        except EnvironmentFault:
            return
        if not same:
            say("late-edit", job, spec=layout.beside(job.path, job.base).spec)

    def _says_the_same(self, job: Job) -> bool:
        """Whether a readable JSON means the same as when the job was claimed or ended. True if there is none."""
        spec = layout.beside(job.path, job.base).spec
        try:
            file = self._folder.read_spec(spec)
        except SpecInvalid:
            return True
        return file is None or self._same(job, file, spec)

    def _same(self, job: Job, file: SpecFile, path: bytes) -> bool:
        """Whether the JSON means the same as when the job ended."""
        if job.spec_hash is None:  # it never ran: only the JSON's bytes are known
            return job.spec_digest in {None, file.digest} and job.state is not JobState.DONE
        _, name = layout.split(job.path)
        try:
            spec = parse(file.data, clip_name=name, file="")
            return self._folder.check_references(spec, path, file.data).digest() == job.spec_hash
        except SpecInvalid:
            return False
