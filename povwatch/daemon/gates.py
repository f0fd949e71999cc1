"""A clip from arrived to queued, and while it is queued: its JSON, its markers, its editor, its grace.

grace.py decides; here is what it decides on, and what follows.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from povwatch import grace as clockwork
from povwatch import layout
from povwatch.daemon.gate import Gate, SpecFiles
from povwatch.daemon.grace_notes import GraceNotes
from povwatch.errors import DiskFull, EnvironmentFault
from povwatch.grace import Grace, Sample
from povwatch.job import Job, JobState, Waiting
from povwatch.units import spell_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from povwatch.config import Config
    from povwatch.daemon.ledger import Ledger
    from povwatch.daemon.notices import Notices
    from povwatch.media.info import VideoInfo
    from povwatch.spec import Spec
    from povwatch.spec.beside import InputsFolder
    from povwatch.spec.prompts import Template

LOOK_EVERY = 0.5
"""Seconds between two looks at what lies beside a clip; longer where there are many."""

LOOKS_A_SECOND = 100
"""At most, over all clips whose time has not come: each is a tenth of a millisecond. Events make a look come sooner."""

TICK_EVERY = 0.05
"""Seconds between two passes over the clips, at least."""

REWRITE_AFTER = 2.0
"""Seconds after which a JSON that was deleted is written anew: editors delete and rename."""

SAVE_EVERY = 10.0
"""Seconds between two notes of what is left."""


class Gates:
    """Every clip between its arrival and its claim."""

    def __init__(
        self,
        config: Config,
        *,
        ledger: Ledger,
        folder: InputsFolder,
        notices: Notices,
        templates: Mapping[str, Template],
        engine: str,
        present: Callable[[bytes], bool],
        ended: Callable[[Job], None],
        broken: Callable[[tuple[str, int], Exception], None],
    ) -> None:
        """Make it.

        Args:
            config: the configuration.
            ledger: the jobs.
            folder: what lies beside the clips.
            notices: the error files.
            templates: the prompts, by name.
            engine: the kind that runs here: what another kind published is no run of this one.
            present: whether a clip is there; no JSON is written for one that is not.
            ended: told of a job that ended here: its JSON was wrong for too long, or the same is done already.
            broken: told of a job whose JSON raised what nobody foresaw.
        """
        self._present = present
        self._ended = ended
        self._broken = broken
        self._config = config
        self._ledger = ledger
        self._folder = folder
        self._notices = notices
        self._files = SpecFiles(config.spec, ledger, folder, templates)
        self._notes = GraceNotes(ledger, notices)
        self._engine = engine
        self._gates: dict[int, Gate] = {}
        self._by_base: dict[tuple[bytes, bytes], int] = {}
        """Folder and base of each clip, also of some that are no longer here, to its job."""
        self._next_look = 0.0
        self._next_save = 0.0

    # -- coming and going

    def admit(self, job: Job, info: VideoInfo) -> None:
        """A clip has arrived: see to its JSON and start its grace, or go on with what was left of it."""
        now, wall = self._ledger.clock.boot(), self._ledger.clock.wall()
        same_video = job.source_hash == info.sha256
        file, refused = None, None
        try:
            file = self._files.ensure(job)
        except EnvironmentFault as error:
            refused = error
        digest = file.digest if file else ""
        to: dict[str, Any] = {
            "source_hash": info.sha256,
            "source_stat": job.source_stat,
            "source_info": json.dumps(info.to_json()),
        }
        spec = self._files.meaning(job, file) if file else None
        if file and spec and self._same_run(dataclasses.replace(job, **to), spec, spec_stat=file.signature, **to):
            return
        if same_video and job.grace_left is not None and job.spec_digest == digest:
            begun = clockwork.begin(digest, job.grace_left, now)
        else:
            begun = clockwork.begin(digest, self._config.grace.period, now)
        job = self._ledger.move(
            job,
            "arrived",
            said=_described(info),
            state=JobState.GRACE,
            waiting_on=Waiting.GRACE,
            detail="",
            spec_digest=digest,
            grace_left=begun.left,
            grace_saved_at=wall,
            **to,
        )
        gate = self._open(job, begun, now)
        if refused:
            self._refused(gate, refused, now)
            return
        self._notes.began(job, gate.grace)
        self._look(gate, now)

    def resume(self, job: Job) -> None:
        """A job from before the last start."""
        now, wall = self._ledger.clock.boot(), self._ledger.clock.wall()
        period = self._config.grace.period
        away = wall - (job.grace_saved_at or wall)
        invalid_for = None if job.invalid_since is None else wall - job.invalid_since
        left = 0.0 if job.state is JobState.QUEUED else (period if job.grace_left is None else job.grace_left)
        resumed = clockwork.resume(job.spec_digest or "", period, now, left=left, away=away, invalid_for=invalid_for)
        if job.state is JobState.QUEUED:
            resumed = dataclasses.replace(resumed, waiting=None, left=0.0)
        gate = self._open(job, resumed, now)
        gate.said = resumed.waiting
        if job.state is JobState.GRACE:
            self._notes.began(job, gate.grace)

    def drop(self, job: Job) -> None:
        """A job is no longer between arrival and claim; what is left of its grace stays with it."""
        gate = self._gates.pop(job.id, None)
        if gate is not None and job.state is JobState.GRACE:
            self._ledger.journal.save_grace({job.id: gate.grace.left}, self._ledger.clock.wall())

    def spec_of(self, job: Job) -> Spec | None:
        """The JSON as it stands now, read again for the claim; None if it is not the one that the grace ran for."""
        gate = self._gates.get(job.id)
        if gate is None:
            return None
        self._look(gate, self._ledger.clock.boot())
        if gate.missing_since is not None or self._ledger.job(job.id).state is not JobState.QUEUED:
            return None
        return gate.spec if gate.grace.over else None

    def deadline(self, job: Job) -> float | None:
        """When the grace ends, on the boot clock; None while it stands still."""
        gate = self._gates.get(job.id)
        if gate is None or gate.grace.waiting is not Waiting.GRACE:
            return None
        return gate.grace.seen_at + gate.grace.left

    def stand_still(self, now: float) -> None:
        """The inputs folder was away until now: nobody could edit a JSON, so that time does not count."""
        for gate in self._gates.values():
            gate.grace = dataclasses.replace(gate.grace, seen_at=now)
            gate.said = None

    # -- the timers

    def poke(self, job: Job) -> None:
        """Somebody said something about a clip: look at once."""
        gate = self._gates.get(job.id)
        if gate is not None:
            gate.look_at = self._next_look = 0.0

    def hint(self, path: bytes) -> None:
        """A file changed that is no clip: if it lies beside one, look there at once.

        Args:
            path: a JSON, a marker, an editor's lock or its temporary file.
        """
        folder, name = layout.split(path)
        name = name.removeprefix(b".~lock.").removeprefix(b".#").removeprefix(b".")
        cut = name.rfind(b".json")
        job = self._by_base.get((folder, name[:cut] if cut > 0 else layout.stem_of(name)))
        if job in self._gates:
            self._gates[job].look_at = self._next_look = 0.0

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._next_look if self._gates else None

    def tick(self, now: float) -> None:
        """Look at every clip whose time has come."""
        if now < self._next_look:
            return
        pause = max(LOOK_EVERY, len(self._gates) / LOOKS_A_SECOND)
        soonest = now + pause
        for gate in list(self._gates.values()):
            if gate.job in self._gates and gate.look_at <= now:
                gate.look_at = now + pause
                try:
                    self._look(gate, now)
                except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
                    self._broken(("grace", gate.job), error)
                gate.look_at = min(gate.look_at, self._due(gate, now))
            soonest = min(soonest, gate.look_at)
        self._next_look = max(soonest, now + TICK_EVERY)
        if now >= self._next_save:
            self._next_save = now + SAVE_EVERY
            left = {g.job: g.grace.left for g in self._gates.values() if not g.grace.over}
            if left:
                self._ledger.journal.save_grace(left, self._ledger.clock.wall())

    def _open(self, job: Job, grace: Grace, now: float) -> Gate:
        self._gates[job.id] = gate = Gate(job.id, grace, now)
        self._by_base[layout.split(job.path)[0], job.base] = job.id
        self._next_look = min(self._next_look, now)
        return gate

    def _due(self, gate: Gate, now: float) -> float:
        """When a clip's time comes by itself."""
        if gate.missing_since is not None:
            return max(gate.missing_since + REWRITE_AFTER, now + LOOK_EVERY)
        if gate.grace.waiting is Waiting.GRACE:
            return gate.grace.seen_at + gate.grace.left
        return now + self._config.grace.max

    # -- one look

    def _look(self, gate: Gate, now: float) -> None:
        job = self._ledger.job(gate.job)
        beside = layout.beside(job.path, job.base)
        try:
            if not self._files.read(gate, job) and not self._write_missing(gate, job, now):
                return
            markers = self._folder.markers(beside)
            editing = self._folder.editor_open(beside.spec, self._ledger.clock.wall())
        except EnvironmentFault:  # the folder is away or refuses; the lookout says so, and the clock stands still
            gate.grace = dataclasses.replace(gate.grace, seen_at=now)
            return
        start = gate.spec.povwatch.start if gate.spec else None
        go = job.go or markers.go
        first = not gate.grace.digest
        sample = Sample(
            digest=gate.digest,
            valid=gate.spec is not None,
            editing=editing,
            # Go is said after the JSON was written, and over its hold; the other two holds are said over go.
            hold=job.hold or markers.hold or (start == "hold" and not go),
            go=go or (start == "now" and not editing),
        )
        marker = layout.shown(layout.split(beside.hold)[1])
        held_by = f"{marker} is there" if markers.hold else "povwatch hold" if job.hold else "its JSON says hold"
        gate.grace = clockwork.observe(
            gate.grace, sample, now, period=self._config.grace.period, limit=self._config.grace.max
        )
        self._follow(gate, job, held_by, first=first)

    def _write_missing(self, gate: Gate, job: Job, now: float) -> bool:
        """Write a JSON anew that has been missing for a while, and read it; False while there is none."""
        if gate.missing_since is None:
            gate.missing_since = now
        if now - gate.missing_since < REWRITE_AFTER or not self._present(job.path):
            return False
        try:
            self._files.ensure(job, again=bool(gate.grace.digest))
        except EnvironmentFault as error:
            self._refused(gate, error, now)
            return False
        gate.digest = ""
        gate.grace = clockwork.begin("", self._config.grace.period, now)
        return self._files.read(gate, job)

    def _refused(self, gate: Gate, error: EnvironmentFault, now: float) -> None:
        """The folder does not take a JSON: the clip waits until it does, and the clock stands still."""
        gate.grace = dataclasses.replace(gate.grace, seen_at=now)
        gate.said = Waiting.DISK_FULL if isinstance(error, DiskFull) else Waiting.INPUTS_AWAY
        self._ledger.wait(self._ledger.job(gate.job), gate.said, str(error))

    def _follow(self, gate: Gate, job: Job, held_by: str, *, first: bool) -> None:
        """What follows from a look; `first`: the first one at this JSON."""
        job = self._ledger.job(job.id)
        grace, was = gate.grace, gate.said
        gate.said = grace.waiting
        if grace.invalid_since is None and job.invalid_since is not None:
            self._notices.clear(job)
            spec = layout.beside(job.path, job.base).spec
            job = self._ledger.move(job, "valid-spec", said={"spec": spec}, invalid_since=None)
        if grace.expired:
            self._expire(gate, job)
            return
        if grace.over:
            if job.state is JobState.GRACE:
                self._queue(gate, job)
            return
        detail = self._notes.detail(gate, held_by)
        to: dict[str, object] = {"waiting_on": grace.waiting, "detail": detail}
        if grace.restarted:
            to |= {"spec_digest": grace.digest, "grace_left": grace.left, "grace_saved_at": self._ledger.clock.wall()}
        if job.state is JobState.QUEUED:
            to |= {"state": JobState.GRACE, "grace_left": grace.left, "grace_saved_at": self._ledger.clock.wall()}
        if grace.invalid_since is not None and job.invalid_since is None:
            to["invalid_since"] = self._ledger.clock.wall()
        same = grace.waiting is was and (grace.waiting is Waiting.GRACE or detail == job.detail)
        if same and not grace.restarted and to.keys() == {"waiting_on", "detail"}:
            return
        self._notes.tell(gate, job, was, to, held_by=held_by, first=first)

    def _expire(self, gate: Gate, job: Job) -> None:
        what = gate.problem.what if gate.problem else "its JSON cannot be run."
        del self._gates[gate.job]
        rejected = self._ledger.move(
            job,
            "rejected",
            said={"problem": what, "error_file": layout.beside(job.path, job.base).error},
            state=JobState.REJECTED,
            waiting_on=None,
            detail="",
            spec_digest=gate.digest,
            spec_stat=gate.stat,
            error=f"Its JSON could not be run for longer than grace.max: {what} Edit it, and it is taken in again.",
        )
        self._ended(rejected)

    def _queue(self, gate: Gate, job: Job) -> None:
        assert gate.spec is not None  # noqa: S101 - grace is never over with an invalid spec
        self._notices.clear(job)
        if self._same_run(job, gate.spec, spec_digest=gate.digest, spec_stat=gate.stat):
            del self._gates[gate.job]
            return
        ahead = len(self._ledger.in_state(JobState.QUEUED))
        self._ledger.move(
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

    # -- helpers

    def _same_run(self, job: Job, spec: Spec, **to: Any) -> bool:  # noqa: ANN401 - a job's own fields
        if job.force or job.source_hash is None:
            return False
        done = self._ledger.journal.done_run(job.path, job.source_hash, spec.digest(), self._engine)
        if done is None:
            return False
        ended = self._ledger.move(
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


def _described(info: VideoInfo) -> dict[str, object]:
    """What the log says of a clip that has arrived."""
    return {
        "frames": info.frames,
        "shape": f"{info.display_width}x{info.display_height}",
        "rate": f"{float(info.fps):.3f}".rstrip("0").rstrip("."),
        "duration": spell_duration(info.duration),
        "codec": info.codec,
    }
