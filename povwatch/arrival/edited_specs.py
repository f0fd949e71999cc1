"""Starts a new run of an ended clip whose JSON was edited, without a new upload."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.errors import EnvironmentFault, SpecInvalid
from povwatch.core.events import say
from povwatch.core.job import CLAIMED, Job, JobState

if TYPE_CHECKING:
    from povwatch.arrival.stage import ArrivalStage
    from povwatch.files.scan import Listing
    from povwatch.journal.store import JobStore
    from povwatch.spec.inputs_folder import InputsFolder


class EditedSpecs:
    """Compares the JSON beside ended clips with the spec of their last run."""

    def __init__(self, store: JobStore, arrival: ArrivalStage, folder: InputsFolder) -> None:
        self._store = store
        self._arrival = arrival
        self._folder = folder
        self._late: dict[int, bytes] = {}
        """Running jobs whose JSON was edited meanwhile, each with the JSON's signature: one log line an edit."""

    def compare(self, listing: Listing) -> None:
        """Take in every clip again whose JSON means something else than its last run."""
        for path in listing.clips:
            known = self._store.known.get(path)
            if known is None or not (known.state.ended or known.state in CLAIMED) or path not in self._store.scope:
                continue
            seen = listing.specs.get(layout.spec_beside(path, known.base))
            if seen is None or seen == known.spec_stat:
                continue
            try:
                if known.state.ended:
                    self._take_in_again(self._store.job(known.job), seen)
                elif self._late.get(known.job) != seen:
                    self._late[known.job] = seen
                    self._say_late(self._store.job(known.job))
            except Exception as error:  # noqa: BLE001 - whatever it is, it costs this clip and no other
                self._store.mishaps.of(("respec", known.job), error)
        claimed = {job.id for job in self._store.claimed}
        self._late = {job: seen for job, seen in self._late.items() if job in claimed}

    def _take_in_again(self, job: Job, seen: bytes) -> None:
        # The folder may be away, or the clip cannot be opened: the next rescan tries again.
        with suppress(EnvironmentFault):
            if self._says_the_same(job):
                self._store.touch(job, spec_stat=seen)
            else:
                self._arrival.again(job.path, self._store.clock.boot())

    def _say_late(self, job: Job) -> None:
        with suppress(EnvironmentFault):
            if not self._says_the_same(job):
                say("late-edit", job, spec=layout.beside(job.path, job.base).spec)

    def _says_the_same(self, job: Job) -> bool:
        """Whether a readable JSON means the same as when the job was claimed or ended. True if there is none."""
        path = layout.beside(job.path, job.base).spec
        try:
            file = self._folder.read_spec(path)
        except SpecInvalid:
            return True
        if file is None:
            return True
        if job.spec_hash is None:  # it never ran: only the JSON's bytes are known
            return job.spec_digest in {None, file.digest} and job.state is not JobState.DONE
        try:
            return self._folder.spec_in(file, path, job.path).digest() == job.spec_hash
        except SpecInvalid:
            return False
