"""Looks at the files beside a clip in its grace or in the queue, and acts on what it finds."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.changes import DoneAlready, GraceAgain, GraceLooked, Queued, SpecRejected, SpecValid
from povwatch.core.errors import EnvironmentFault
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.retry import waiting_for
from povwatch.core.sentences import joined
from povwatch.grace import clock as clockwork
from povwatch.grace.clock import Sample
from povwatch.spec.holding import held_by, marker_before

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.config.settings import Grace
    from povwatch.grace.entry import GraceEntry, SpecFiles
    from povwatch.grace.notes import GraceNotes
    from povwatch.journal.store import JobStore
    from povwatch.spec import Spec
    from povwatch.spec.error_files import ErrorFiles
    from povwatch.spec.inputs_folder import InputsFolder

REWRITE_AFTER = 2.0
"""Seconds after which a deleted JSON is written again: editors delete and rename."""


class GraceLook:
    """Looks beside one clip at a time. grace/clock.py decides."""

    def __init__(
        self,
        grace: Grace,
        *,
        store: JobStore,
        folder: InputsFolder,
        files: SpecFiles,
        notes: GraceNotes,
        error_files: ErrorFiles,
        engine: str,
        present: Callable[[bytes], bool],
    ) -> None:
        self._grace = grace
        self._store = store
        self._folder = folder
        self._files = files
        self._notes = notes
        self._error_files = error_files
        self._engine = engine
        self._present = present

    def look(self, entry: GraceEntry, now: float) -> None:
        """Read the JSON, the markers and the editors' locks, and change the job if they say something new."""
        job = self._store.job(entry.job)
        beside = layout.beside(job.path, job.base)
        try:
            if not self._files.read(entry, job) and not self._write_missing(entry, job, now):
                return
            if entry.unsure(now):
                entry.grace = dataclasses.replace(entry.grace, seen_at=now)
                return
            markers = self._folder.markers(beside)
            entry.lock = self._folder.editor_open(beside.spec, self._store.clock.wall())
        except EnvironmentFault:  # inputs/ is away or refuses: the folder monitor says so, and the clock stops
            entry.grace = dataclasses.replace(entry.grace, seen_at=now)
            return
        start = entry.spec.povwatch.start if entry.spec else None
        go = job.go or markers.go
        if job.hold and entry.marker_before is None:
            entry.marker_before = marker_before(self._store.journal.events(job.id))
        before = entry.marker_before or ""
        by = held_by(job, beside, marker=markers.hold, go=go, start=start, marker_before=before)
        first = not entry.grace.digest
        sample = Sample(
            digest=entry.digest,
            valid=entry.spec is not None,
            editing=entry.lock is not None,
            hold=bool(by),
            go=go or (start == "now" and not entry.lock),
            looking=bool(entry.looking),
        )
        entry.grace = clockwork.observe(entry.grace, sample, now, period=self._grace.period, limit=self._grace.max)
        self._follow(entry, job, by, first=first)

    def refused(self, entry: GraceEntry, error: EnvironmentFault, now: float) -> None:
        """Let a clip wait because the folder does not take its JSON. The clock is stopped."""
        entry.grace = dataclasses.replace(entry.grace, seen_at=now)
        entry.last_wait = waiting_for(error)
        self._store.wait(self._store.job(entry.job), entry.last_wait, str(error))

    def done_already(self, job: Job, spec: Spec, *, digest: str | None, stat: bytes | None) -> bool:
        """Whether the same video was published with the same spec before; if so, its job ends here.

        Args:
            job: the clip's.
            spec: from its JSON.
            digest: of the JSON's bytes, if the grace ran for them.
            stat: the JSON's signature.
        """
        if job.force or job.source_hash is None:
            return False
        done = self._store.journal.done_run(job.path, job.source_hash, spec.digest(), self._engine)
        if done is None:
            return False
        already = DoneAlready(
            output=done.output,
            engine=done.engine,
            spec_hash=done.spec_hash,
            spec_stat=stat,
            spec_digest=digest,
        )
        self._store.apply(job, already)
        return True

    # -- acting on a look

    def _write_missing(self, entry: GraceEntry, job: Job, now: float) -> bool:
        """Write a JSON again that has been missing for a while, and read it; False while there is none."""
        if entry.missing_since is None:
            entry.missing_since = now
        if now - entry.missing_since < REWRITE_AFTER or not self._present(job.path):
            return False
        try:
            duration = json.loads(job.source_info or "{}").get("duration")
            self._files.ensure(job, duration, again=bool(entry.grace.digest))
        except EnvironmentFault as error:
            self.refused(entry, error, now)
            return False
        entry.digest = ""
        entry.grace = clockwork.begin("", self._grace.period, now)
        return self._files.read(entry, job)

    def _follow(self, entry: GraceEntry, job: Job, by: str, *, first: bool) -> None:
        """Act on a look. `first`: it was the first one at this JSON."""
        job = self._store.job(job.id)
        grace, was = entry.grace, entry.last_wait
        entry.last_wait = grace.waiting
        if grace.invalid_since is None and job.invalid_since is not None:
            self._error_files.clear(job)
            spec = layout.beside(job.path, job.base).spec
            job = self._store.apply(job, SpecValid(spec=spec))
        if grace.expired:
            self._expire(entry, job)
            return
        if grace.over:
            self._over(entry, job)
            return
        self._notes.announce(entry, job)
        detail = self._notes.detail(entry, by)
        hindered = grace.waiting is Waiting.GRACE and entry.hindrance
        waiting = Waiting.PAUSED if hindered else grace.waiting
        queued = job.state is JobState.QUEUED
        # The time left is also saved when the clock stops or starts, since it is shown meanwhile.
        keeps_time = grace.restarted or queued or grace.waiting is not was
        newly_invalid = grace.invalid_since is not None and job.invalid_since is None
        # The deadline of a running grace is no news. The beginning and the end of measuring a file are.
        looked, entry.looked = entry.looked, bool(entry.looking)
        runs = grace.waiting is Waiting.GRACE and looked is False and not entry.looked
        same = grace.waiting is was and (runs or detail == job.detail)
        if same and not keeps_time and not newly_invalid:
            return
        found = GraceLooked(
            waiting=waiting,
            detail=detail,
            spec_digest=grace.digest if grace.restarted else None,
            grace_left=grace.left if keeps_time else None,
            invalid=newly_invalid,
            now=self._store.clock.wall(),
        )
        self._notes.tell(entry, job, was, found, held_by=by, first=first)

    def _expire(self, entry: GraceEntry, job: Job) -> None:
        what = entry.problem.what if entry.problem else "its JSON cannot be run."
        error = joined(
            f"Its JSON could not be run for longer than grace.max: {what}", "Edit it, and it is taken in again."
        )
        rejected = SpecRejected(
            problem=what,
            error=error,
            error_file=self._error_files.there(job),
            spec_digest=entry.digest,
            spec_stat=entry.stat,
        )
        self._store.apply(job, rejected)

    def _over(self, entry: GraceEntry, job: Job) -> None:
        if job.state is JobState.QUEUED and entry.grace.restarted:  # a go skips the grace of an edit; the spec is new
            job = self._store.apply(job, GraceAgain())
        if job.state is JobState.GRACE:
            self._queue(entry, job)

    def _queue(self, entry: GraceEntry, job: Job) -> None:
        assert entry.spec is not None  # noqa: S101 - grace is never over with an invalid spec
        self._error_files.clear(job)
        if self.done_already(job, entry.spec, digest=entry.digest, stat=entry.stat):
            return
        queued = Queued(
            ahead=len(self._store.in_state(JobState.QUEUED)),
            spec_digest=entry.digest,
            spec_stat=entry.stat,
            spec_hash=entry.spec.digest(),
        )
        self._store.apply(job, queued)
