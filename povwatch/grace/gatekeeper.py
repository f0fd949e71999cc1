"""One look at what lies beside a clip in its grace or in the queue, and what follows from it."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from povwatch.core import layout
from povwatch.core.errors import EnvironmentFault
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.retry import waiting_for
from povwatch.core.sentences import joined
from povwatch.grace import clock as clockwork
from povwatch.grace.clock import Sample
from povwatch.grace.notes import LOOKED_AT
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
"""Seconds after which a JSON that was deleted is written anew: editors delete and rename."""


class GraceLook:
    """Looks beside one clip at a time; grace.py decides."""

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
        ended: Callable[[Job], None],
    ) -> None:
        self._grace = grace
        self._store = store
        self._folder = folder
        self._files = files
        self._notes = notes
        self._error_files = error_files
        self._engine = engine
        self._present = present
        self._ended = ended

    def look(self, gate: GraceEntry, now: float) -> None:
        """Read the JSON, the markers and the editors' locks; move the job if that means something new."""
        job = self._store.job(gate.job)
        beside = layout.beside(job.path, job.base)
        try:
            if not self._files.read(gate, job) and not self._write_missing(gate, job, now):
                return
            if gate.unsure(now):
                gate.grace = dataclasses.replace(gate.grace, seen_at=now)
                return
            markers = self._folder.markers(beside)
            gate.lock = self._folder.editor_open(beside.spec, self._store.clock.wall())
        except EnvironmentFault:  # the folder is away or refuses; the lookout says so, and the clock stands still
            gate.grace = dataclasses.replace(gate.grace, seen_at=now)
            return
        start = gate.spec.povwatch.start if gate.spec else None
        go = job.go or markers.go
        if job.hold and gate.marker_before is None:
            gate.marker_before = marker_before(self._store.journal.events(job.id))
        before = gate.marker_before or ""
        by = held_by(job, beside, marker=markers.hold, go=go, start=start, marker_before=before)
        first = not gate.grace.digest
        sample = Sample(
            digest=gate.digest,
            valid=gate.spec is not None,
            editing=gate.lock is not None,
            hold=bool(by),
            go=go or (start == "now" and not gate.lock),
            looking=bool(gate.looking),
        )
        gate.grace = clockwork.observe(gate.grace, sample, now, period=self._grace.period, limit=self._grace.max)
        self._follow(gate, job, by, first=first)

    def refused(self, gate: GraceEntry, error: EnvironmentFault, now: float) -> None:
        """The folder does not take a JSON: the clip waits until it does, and the clock stands still."""
        gate.grace = dataclasses.replace(gate.grace, seen_at=now)
        gate.said = waiting_for(error)
        self._store.wait(self._store.job(gate.job), gate.said, str(error))

    def done_already(self, job: Job, spec: Spec, **to: Any) -> bool:  # noqa: ANN401 - a job's own fields
        """Whether the same video was published with the same spec before; then its job ends with that.

        Args:
            job: with the hash of its video.
            spec: what its JSON asks for.
            to: the job's fields that change with its end.
        """
        if job.force or job.source_hash is None:
            return False
        done = self._store.journal.done_run(job.path, job.source_hash, spec.digest(), self._engine)
        if done is None:
            return False
        ended = self._store.move(
            job,
            "done-already",
            said={"output": done.output},
            state=JobState.DONE,
            waiting_on=None,
            detail="the same was published before",
            output=done.output,
            engine=done.engine,
            spec_hash=done.spec_hash,
            **to,
        )
        self._ended(ended)
        return True

    # -- what follows from a look

    def _write_missing(self, gate: GraceEntry, job: Job, now: float) -> bool:
        """Write a JSON anew that has been missing for a while, and read it; False while there is none."""
        if gate.missing_since is None:
            gate.missing_since = now
        if now - gate.missing_since < REWRITE_AFTER or not self._present(job.path):
            return False
        try:
            duration = json.loads(job.source_info or "{}").get("duration")
            self._files.ensure(job, duration, again=bool(gate.grace.digest))
        except EnvironmentFault as error:
            self.refused(gate, error, now)
            return False
        gate.digest = ""
        gate.grace = clockwork.begin("", self._grace.period, now)
        return self._files.read(gate, job)

    def _follow(self, gate: GraceEntry, job: Job, by: str, *, first: bool) -> None:
        """What follows from a look; `first`: the first one at this JSON."""
        job = self._store.job(job.id)
        grace, was = gate.grace, gate.said
        gate.said = grace.waiting
        if grace.invalid_since is None and job.invalid_since is not None:
            self._error_files.clear(job)
            spec = layout.beside(job.path, job.base).spec
            job = self._store.move(job, "valid-spec", said={"spec": spec}, invalid_since=None)
        if grace.expired:
            self._expire(gate, job)
            return
        if grace.over:
            self._over(gate, job)
            return
        self._notes.announce(gate, job)
        detail = self._notes.detail(gate, by)
        hindered = grace.waiting is Waiting.GRACE and gate.hindrance
        to: dict[str, object] = {"waiting_on": Waiting.PAUSED if hindered else grace.waiting, "detail": detail}
        if grace.restarted:
            to["spec_digest"] = grace.digest
        if job.state is JobState.QUEUED:
            to["state"] = JobState.GRACE
        if grace.restarted or job.state is JobState.QUEUED or grace.waiting is not was:
            # Also where the clock stops or goes on: what is left is shown meanwhile.
            to |= {"grace_left": grace.left, "grace_saved_at": self._store.clock.wall()}
        if grace.invalid_since is not None and job.invalid_since is None:
            to["invalid_since"] = self._store.clock.wall()
        # The clock of a grace that runs is no news; that a file is looked at, or is no longer, is.
        looked = LOOKED_AT in detail or LOOKED_AT in job.detail
        same = grace.waiting is was and ((grace.waiting is Waiting.GRACE and not looked) or detail == job.detail)
        if same and not grace.restarted and to.keys() == {"waiting_on", "detail"}:
            return
        self._notes.tell(gate, job, was, to, held_by=by, first=first)

    def _expire(self, gate: GraceEntry, job: Job) -> None:
        what = gate.problem.what if gate.problem else "its JSON cannot be run."
        rejected = self._store.move(
            job,
            "rejected",
            said={"problem": what, "error_file": self._error_files.there(job)},
            state=JobState.REJECTED,
            waiting_on=None,
            detail="",
            spec_digest=gate.digest,
            spec_stat=gate.stat,
            error=joined(
                f"Its JSON could not be run for longer than grace.max: {what}", "Edit it, and it is taken in again."
            ),
        )
        self._ended(rejected)

    def _over(self, gate: GraceEntry, job: Job) -> None:
        if job.state is JobState.QUEUED and gate.grace.restarted:  # go goes over an edit too; what it asks for is new
            job = self._store.set_quietly(job, "waiting", state=JobState.GRACE, waiting_on=None)
        if job.state is JobState.GRACE:
            self._queue(gate, job)

    def _queue(self, gate: GraceEntry, job: Job) -> None:
        assert gate.spec is not None  # noqa: S101 - grace is never over with an invalid spec
        self._error_files.clear(job)
        if self.done_already(job, gate.spec, spec_digest=gate.digest, spec_stat=gate.stat):
            return
        ahead = len(self._store.in_state(JobState.QUEUED))
        self._store.move(
            job,
            "queued",
            said={"ahead": ahead},
            state=JobState.QUEUED,
            waiting_on=Waiting.TURN,
            detail="",
            grace_left=0.0,
            invalid_since=None,
            spec_digest=gate.digest,
            spec_stat=gate.stat,
            spec_hash=gate.spec.digest(),
        )
