"""Jobs for clips that are known already: a new arrival of the clip, or a look that joins the arrival that there was.

A clip arrives once for all of its looks (core/looks.py): its own job carries the arrival, and the jobs of the other
looks join it. If the own job has ended when the file changes, a new one carries the arrival of the new file.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

from povwatch.arrival.followed import FollowedClip, Phase
from povwatch.core import layout
from povwatch.core.changes import Changed, Joined, StillDamaged
from povwatch.core.job import WAITING, Job, JobState
from povwatch.core.looks import OWN
from povwatch.files.scan import ClipUnreadable

if TYPE_CHECKING:
    from povwatch.arrival.clip_files import ClipFiles
    from povwatch.arrival.followed import FollowedClips
    from povwatch.files.signature import Signature
    from povwatch.journal.store import JobStore


class Joining:
    """Has the looks of a clip share its arrival."""

    def __init__(self, store: JobStore, clips: FollowedClips, files: ClipFiles) -> None:
        self._store = store
        self._clips = clips
        self._files = files
        self.arrived: set[bytes] = set()
        """Clips that have just arrived. LookFiles takes them out: JSONs of looks may wait for them."""

    # -- jobs that are asked for

    def arrive_anew(self, path: bytes, now: float, *, force: bool = False) -> Job | None:
        """Have a clip arrive anew, with a new job. None if it does not exist.

        Raises:
            ClipUnreadable: it exists and cannot be opened.
        """
        signature = self._files.sample(path)
        if signature is None:
            return None
        last = self._store.of_path(path)
        (job,) = self._store.add([(path, signature)], force=force)
        if last is not None and last.damaged == signature:  # the same file, as damaged as before
            job = self._store.apply(job, StillDamaged(signature=signature))
        self._clips.begin(job, signature, now)
        return job

    def rerun(self, job: Job, now: float, *, force: bool = False) -> Job | None:
        """Run a look of a clip again, with a new job. None if the clip does not exist. `job` is its last one.

        The clip's own look has it arrive anew. Another look waits for the clip if it is not the file that has arrived.

        Raises:
            ClipUnreadable: the clip exists and cannot be opened.
        """
        if job.look == OWN:
            return self.arrive_anew(job.path, now, force=force)
        if again := self.join(job.path, job.look, spec=layout.beside(job.path, job.stem).spec, force=force):
            return again
        if (signature := self._files.sample(job.path)) is None:
            return None
        (again,) = self._store.add([(job.path, signature)], look=job.look, force=force)
        if job.path not in self._clips:
            self.follow(job.path, now)
        return again

    def join(self, path: bytes, look: str, *, spec: bytes, force: bool = False) -> Job | None:
        """Add a job for a look of a clip that has arrived, with its grace ahead; None if the clip has not arrived.

        Args:
            spec: the look's JSON, relative to inputs/.
            force: run it even if the same was published before.

        Raises:
            ClipUnreadable: the clip exists and cannot be opened.
        """
        signature = self._files.sample(path)
        own = self._arrived_as(path, signature)
        if own is None or signature is None:
            self._complete_rebuilt(path, signature)
            return None
        with self._store.together():
            (job,) = self._store.add([(path, signature)], look=look, force=force)
            self._join(job, own, spec)
        if path not in self._clips:
            self.follow(path, self._store.clock.boot())
        return self._store.job(job.id)

    def _arrived_as(self, path: bytes, signature: Signature | None) -> Job | None:
        """The clip's own job, if the file with this signature has arrived with it; else None."""
        own = self._store.of_path(path)
        if own is None or own.state is JobState.ARRIVING or own.source_stat != signature or own.source_hash is None:
            return None
        return own if _has_inspection(own) else None

    def _complete_rebuilt(self, path: bytes, signature: Signature | None) -> None:
        """Have a clip arrive anew that `povwatch rebuild` found done, since it knows less than an inspection finds."""
        own = self._store.of_path(path)
        if own and own.ended and own.source_stat == signature and own.source_info and not _has_inspection(own):
            self.arrive_anew(path, self._store.clock.boot())

    def _join(self, job: Job, own: Job, spec: bytes) -> None:
        """Give a look's job what the inspection for its clip's own job found."""
        joined = Joined(
            spec=spec,
            source_hash=own.source_hash or "",
            source_stat=own.source_stat or b"",
            source_info=own.source_info or "",
            now=self._store.clock.wall(),
        )
        self._store.apply(job, joined)

    # -- the looks of a clip that arrives, changes or ends

    def clip_arrived(self, path: bytes, signature: Signature) -> None:
        """Join the looks that wait for a clip that has just arrived."""
        self.arrived.add(path)
        if path in self._store.looks:
            self.join_waiting(path, signature, self._store.clock.boot())

    def join_waiting(self, path: bytes, signature: Signature, now: float) -> None:
        """Join the jobs of looks that wait for their clip, if it has arrived; if nothing brings it, have it arrive."""
        looks = [job for job in self._store.open_looks(path) if job.look != OWN and job.state is JobState.ARRIVING]
        if not looks:
            return
        if (own := self._arrived_as(path, signature)) is not None:
            for job in looks:
                self._join(job, own, layout.beside(path, job.stem).spec)
        elif self._store.known[path].state.ended:
            with suppress(ClipUnreadable):  # the next rescan tries again
                self.arrive_anew(path, now)

    def unsettle(self, path: bytes, signature: Signature) -> None:
        """Have the looks of a clip whose file has changed wait for its arrival."""
        if path in self._store.looks:
            for job in self._store.open_looks(path):
                if job.look != OWN and job.state in WAITING and job.source_stat != signature:
                    self._store.apply(job, Changed())

    def follow(self, path: bytes, now: float) -> None:
        """Follow a clip whose own job has ended, if jobs of its other looks have not."""
        if jobs := self._store.open_looks(path):
            self._clips[path] = FollowedClip(path, jobs[0].id, jobs[0].source_stat or b"", Phase.ARRIVED, now)

    def enter(self, job: Job) -> None:
        """The copy of a look's clip was not the file that had arrived: the clip arrives anew, unless it does already.

        If the clip's own job runs, its end comes first.
        """
        own = self._store.of_path(job.path)
        if job.source_info is not None or own is None:
            return
        if own.state.ended:
            with suppress(ClipUnreadable):  # the next rescan tries again
                self.arrive_anew(job.path, self._store.clock.boot())
        elif own.state in WAITING:
            self._store.apply(own, Changed())

    def followed_ended(self, job: Job, *, came: bool) -> None:
        """Go on with the other looks of a clip whose followed job has ended. `came`: the clip had arrived."""
        if job.path not in self._store.looks:
            return
        for look in self._store.open_looks(job.path):
            if not came and look.state is JobState.ARRIVING:
                cancelled = job.state is JobState.CANCELLED
                self._store.cancel(look, job.detail if cancelled else f"the clip itself is {job.state}")
        self.follow(job.path, self._store.clock.boot())


def _has_inspection(job: Job) -> bool:
    """Whether the job has all that an inspection of the clip finds."""
    return bool(json.loads(job.source_info or "{}").get("container"))
