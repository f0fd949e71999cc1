"""A clip from arrived to queued, and while it is queued: its JSON, its markers, its editor, its grace.

grace.py decides; here is what it decides on, and what follows.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch import grace as clockwork
from povwatch import layout
from povwatch.daemon.intake import describe
from povwatch.errors import EnvironmentFault, SpecInvalid
from povwatch.grace import Grace, Sample
from povwatch.job import Job, JobState, Waiting
from povwatch.spec import Spec, lint, parse
from povwatch.spec.folders import template_for
from povwatch.spec.prompts import Template, default_spec
from povwatch.voice import say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from povwatch.config import Config
    from povwatch.daemon.ledger import Ledger
    from povwatch.daemon.notices import Notices
    from povwatch.media.info import VideoInfo
    from povwatch.spec.beside import InputsFolder, SpecFile

LOOK_EVERY = 0.5
"""Seconds between two looks at what lies beside a clip; longer where there are many."""

LOOKS_A_SECOND = 500
"""At most, over all clips."""

REWRITE_AFTER = 2.0
"""Seconds after which a JSON that was deleted is written anew: editors delete and rename."""

SAVE_EVERY = 10.0
"""Seconds between two notes of what is left."""


@dataclass(slots=True)
class Gate:
    """What is known beside one clip."""

    job: int
    grace: Grace
    look_at: float
    digest: str = ""
    stat: bytes | None = None
    """The JSON's stat signature when it was last read."""
    spec: Spec | None = None
    refers: bool = False
    """Whether the JSON names other files: those may come or go without it."""
    problem: SpecInvalid | None = None
    missing_since: float | None = None
    said: Waiting | None = field(default=Waiting.GRACE)


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
        """
        self._present = present
        self._config = config
        self._ledger = ledger
        self._folder = folder
        self._notices = notices
        self._templates = templates
        self._engine = engine
        self._gates: dict[int, Gate] = {}
        self._next_look = 0.0
        self._next_save = 0.0

    # -- coming and going

    def admit(self, job: Job, info: VideoInfo) -> None:
        """A clip has arrived: see to its JSON and start its grace, or go on with what was left of it."""
        now, wall = self._ledger.clock.boot(), self._ledger.clock.wall()
        same_video = job.source_hash == info.sha256
        file = self._ensure_spec(job)
        digest = file.digest if file else ""
        to: dict[str, Any] = {
            "source_hash": info.sha256,
            "source_stat": job.source_stat,
            "source_info": json.dumps(info.to_json()),
        }
        if self._done_already(dataclasses.replace(job, **to), file, **to):
            return
        if same_video and job.grace_left is not None and job.spec_digest == digest:
            begun = clockwork.begin(digest, job.grace_left, now)
        else:
            begun = clockwork.begin(digest, self._config.grace.period, now)
        job = self._ledger.move(
            job,
            "arrived",
            said=describe(info),
            state=JobState.GRACE,
            waiting_on=Waiting.GRACE,
            detail="",
            spec_digest=digest,
            grace_left=begun.left,
            grace_saved_at=wall,
            **to,
        )
        self._gates[job.id] = gate = Gate(job.id, begun, now)
        self._say_grace(job, gate, "grace")
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
            resumed = dataclasses.replace(resumed, waiting=None)
        self._gates[job.id] = gate = Gate(job.id, resumed, now, said=resumed.waiting)
        if job.state is JobState.GRACE:
            self._say_grace(job, gate, "grace")

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
        return gate.spec if gate.grace.over and self._ledger.job(job.id).state is JobState.QUEUED else None

    def deadline(self, job: Job) -> float | None:
        """When the grace ends, on the boot clock; None while it stands still."""
        gate = self._gates.get(job.id)
        if gate is None or gate.grace.waiting is not Waiting.GRACE:
            return None
        return gate.grace.seen_at + gate.grace.left

    # -- the timers

    def poke(self) -> None:
        """Something beside a clip may have changed: look at once, unless that is a great many."""
        if len(self._gates) > LOOKS_A_SECOND:
            return
        self._next_look = 0.0
        for gate in self._gates.values():
            gate.look_at = 0.0

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
                self._look(gate, now)
            soonest = min(soonest, gate.look_at)
        self._next_look = soonest
        if now >= self._next_save:
            self._next_save = now + SAVE_EVERY
            left = {g.job: g.grace.left for g in self._gates.values() if not g.grace.over}
            if left:
                self._ledger.journal.save_grace(left, self._ledger.clock.wall())

    # -- one look

    def _look(self, gate: Gate, now: float) -> None:
        job = self._ledger.job(gate.job)
        beside = layout.beside(job.path, job.base)
        try:
            if not self._read(gate, job, beside, now):
                return
            markers = self._folder.markers(beside)
            editing = self._folder.editor_open(beside.spec, self._ledger.clock.wall())
        except EnvironmentFault:
            return  # the folder is away or refuses; the lookout says so, and the clock stands still
        start = gate.spec.povwatch.start if gate.spec else None
        sample = Sample(
            digest=gate.digest,
            valid=gate.spec is not None,
            editing=editing,
            hold=job.hold or markers.hold or start == "hold",
            go=job.go or markers.go or (start == "now" and not editing),
        )
        held_by = "its JSON says hold" if start == "hold" else f"{layout.shown(layout.split(beside.hold)[1])} is there"
        held_by = held_by if start == "hold" or markers.hold else "povwatch hold"
        gate.grace = clockwork.observe(
            gate.grace, sample, now, period=self._config.grace.period, limit=self._config.grace.max
        )
        self._follow(gate, job, held_by)

    def _read(self, gate: Gate, job: Job, beside: layout.Beside, now: float) -> bool:
        """Read the JSON into the gate; False while there is none."""
        try:
            file = self._folder.read_spec(beside.spec)
        except SpecInvalid as error:
            gate.spec, gate.problem, gate.digest = None, error, error.what
            return True
        if file is None:
            if gate.missing_since is None:
                gate.missing_since = now
            elif now - gate.missing_since >= REWRITE_AFTER and self._present(job.path):
                written = self._ensure_spec(job, again=True)
                gate.digest = ""
                gate.grace = clockwork.begin(written.digest if written else "", self._config.grace.period, now)
            return False
        gate.missing_since = None
        gate.stat = file.signature
        if file.digest != gate.digest or gate.problem or gate.refers:
            self._parse(gate, job, beside, file)
        return True

    def _parse(self, gate: Gate, job: Job, beside: layout.Beside, file: SpecFile) -> None:
        _, name = layout.split(job.path)
        new = file.digest != gate.digest
        gate.digest = file.digest
        try:
            spec = parse(file.data, clip_name=name, file=layout.shown(layout.split(beside.spec)[1]))
            gate.refers = bool(spec.referenced_paths())
            spec = self._folder.check_references(spec, beside.spec, file.data)
        except SpecInvalid as error:
            gate.spec, gate.problem = None, error
            return
        gate.spec, gate.problem = spec, None
        if new:
            for warning in lint(spec):
                say("lint", job, spec=beside.spec, warning=warning)
        if spec.povwatch.priority != job.priority:
            self._ledger.set_quietly(self._ledger.job(job.id), "waiting", priority=spec.povwatch.priority)

    def _follow(self, gate: Gate, job: Job, held_by: str) -> None:
        """What follows from a look."""
        job = self._ledger.job(job.id)
        grace, was = gate.grace, gate.said
        gate.said = grace.waiting
        if grace.expired:
            self._expire(gate, job)
            return
        if grace.over:
            if job.state is JobState.GRACE:
                self._queue(gate, job)
            return
        to: dict[str, object] = {"waiting_on": grace.waiting, "detail": self._detail(gate, held_by)}
        if grace.restarted:
            to |= {"spec_digest": grace.digest, "grace_left": grace.left, "grace_saved_at": self._ledger.clock.wall()}
        if job.state is JobState.QUEUED:
            to |= {"state": JobState.GRACE, "grace_left": grace.left, "grace_saved_at": self._ledger.clock.wall()}
        if grace.invalid_since is None:
            if job.invalid_since is not None:
                to["invalid_since"] = None
                self._notices.clear(job)
                say("valid-spec", job, spec=layout.beside(job.path, job.base).spec)
        elif job.invalid_since is None:
            to["invalid_since"] = self._ledger.clock.wall()
        if grace.waiting is was and not grace.restarted and job.state is JobState.GRACE and len(to) == 2:  # noqa: PLR2004 - nothing but the wait
            return
        self._tell(gate, job, was, to, held_by)

    def _tell(self, gate: Gate, job: Job, was: Waiting | None, to: dict[str, object], held_by: str) -> None:
        grace = gate.grace
        spec = layout.beside(job.path, job.base).spec
        deadline = self._ledger.clock.spell(grace.seen_at + grace.left)
        if grace.waiting is Waiting.INVALID_SPEC:
            assert gate.problem is not None  # noqa: S101 - that is what invalid means
            if grace.restarted or was is not Waiting.INVALID_SPEC:
                file = self._notices.invalid(job, gate.problem)
                said = {"spec": spec, "problem": gate.problem.what, "error_file": file}
                self._ledger.move(job, "invalid-spec", said=said, **to)
                return
        elif grace.waiting is Waiting.HELD and was is not Waiting.HELD:
            self._ledger.move(job, "held", said={"by": held_by}, **to)
            return
        elif grace.waiting is Waiting.EDITING and was is not Waiting.EDITING:
            self._ledger.move(job, "editing", said={"spec": spec}, **to)
            return
        elif grace.restarted:
            self._ledger.move(job, "edited", said={"deadline": deadline, "spec": spec}, **to)
            return
        elif was is Waiting.HELD:
            self._ledger.move(job, "unheld", said={"deadline": deadline}, **to)
            return
        self._ledger.set_quietly(job, "waiting", **to)

    def _expire(self, gate: Gate, job: Job) -> None:
        what = gate.problem.what if gate.problem else "its JSON cannot be run."
        del self._gates[gate.job]
        self._ledger.move(
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

    def _done_already(self, job: Job, file: SpecFile | None, **to: Any) -> bool:  # noqa: ANN401 - a job's own fields
        """Whether the very same was published before; then the job ends here."""
        if file is None:
            return False
        _, name = layout.split(job.path)
        try:
            spec = parse(file.data, clip_name=name, file="")
            spec = self._folder.check_references(spec, layout.beside(job.path, job.base).spec, file.data)
        except SpecInvalid:
            return False
        return self._same_run(job, spec, spec_stat=file.signature, **to)

    def _same_run(self, job: Job, spec: Spec, **to: Any) -> bool:  # noqa: ANN401 - a job's own fields
        if job.force or job.source_hash is None:
            return False
        done = self._ledger.journal.done_run(job.path, job.source_hash, spec.digest(), self._engine)
        if done is None:
            return False
        self._ledger.move(
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
        return True

    def _ensure_spec(self, job: Job, *, again: bool = False) -> SpecFile | None:
        """See that there is a JSON; never over one that is there."""
        beside = layout.beside(job.path, job.base)
        _, name = layout.split(job.path)
        template = self._templates[template_for(self._config.spec, job.path)]
        defaults = self._config.spec
        controls = {str(key): weight for key, weight in defaults.controls.items()}
        data = default_spec(name, job.base, template, controls=controls, seed=defaults.seed, guidance=defaults.guidance)
        try:
            if self._folder.write_spec(beside.spec, data):
                said = {"spec": beside.spec, "template": template.name}
                self._ledger.journal.note(job, "spec-written", self._ledger.clock.wall(), said)
                say("spec-rewritten" if again else "spec-written", job, **said)
            return self._folder.read_spec(beside.spec)
        except SpecInvalid:
            return None

    def _detail(self, gate: Gate, held_by: str) -> str:
        match gate.grace.waiting:
            case Waiting.INVALID_SPEC:
                return gate.problem.what if gate.problem else ""
            case Waiting.HELD:
                return held_by
            case Waiting.GRACE:
                return f"starts at {self._ledger.clock.spell(gate.grace.seen_at + gate.grace.left)}"
            case _:
                return ""

    def _say_grace(self, job: Job, gate: Gate, event: str) -> None:
        deadline = self._ledger.clock.spell(gate.grace.seen_at + gate.grace.left)
        if gate.grace.left > 0:
            say(event, job, deadline=deadline, spec=layout.beside(job.path, job.base).spec)
