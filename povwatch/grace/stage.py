"""The grace stage: the clips between their arrival and their claim.

It checks the files beside each clip from time to time, and at once when one of them changes: the JSON (spec_files.py),
the user's markers, and the locks of editors. clock.py decides when the grace is over.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch.core import layout
from povwatch.core.changes import (
    Cancelled,
    DoneAlready,
    GraceAgain,
    GraceBegun,
    GraceNews,
    GraceUpdated,
    PutOff,
    Queued,
    SpecDeleted,
    SpecRejected,
    SpecValid,
)
from povwatch.core.errors import EnvironmentFault, PovwatchError
from povwatch.core.events import say
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.looks import OWN
from povwatch.core.retry import waiting_for
from povwatch.core.sentences import joined
from povwatch.core.stage import Mishap, Stage
from povwatch.core.units import spell_duration
from povwatch.grace import clock as clockwork
from povwatch.grace.clock import Sample
from povwatch.grace.spec_files import SpecReading
from povwatch.media.damage import describe_damage
from povwatch.media.info import VideoInfo
from povwatch.spec import holding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from povwatch.attempt.failed import FailedAttempts
    from povwatch.config import settings
    from povwatch.grace.clock import Grace
    from povwatch.grace.named_files import NamedFiles
    from povwatch.grace.prompt_filters import PromptFilters
    from povwatch.grace.spec_files import SpecFiles
    from povwatch.journal.store import JobStore
    from povwatch.spec.error_files import ErrorFiles
    from povwatch.spec.inputs_folder import InputsFolder
    from povwatch.spec.model import Spec

CHECK_EVERY = 0.5
"""Seconds between two checks of the files beside a clip; longer if there are many clips."""

CHECKS_A_SECOND = 100
"""At most so many checks without an event: each takes a tenth of a millisecond. Events bring a check forward."""

TICK_EVERY = 0.05
"""Seconds between two passes over the clips, at least."""

SAVE_EVERY = 10.0
"""Seconds between two writes of the time left."""

REWRITE_AFTER = 2.0
"""Seconds after which a deleted JSON is written again: editors delete and rename."""

WITHDRAWN_AFTER = 5.0
"""Seconds after which a look whose JSON was deleted is cancelled."""

RESUMES_WHEN = {Waiting.HELD: "it is let go", Waiting.EDITING: "its editor is closed"}
"""What has to happen before a stopped clock goes on."""


@dataclass(slots=True)
class GraceEntry:
    """A clip in its grace or in the queue. Times are on the boot clock."""

    job: int
    grace: Grace
    due: float
    """When the files beside the clip are checked next."""
    reading: SpecReading = field(default_factory=SpecReading)
    """The clip's JSON."""
    missing_since: float | None = None
    """Since when the clip has no JSON; None if it has one."""
    lock: bytes | None = None
    """The file that shows that an editor has the JSON open."""
    holder: str | None = None
    """Result of `holding.holder`; None until it is needed."""
    was_unmeasured: bool | None = None
    """Whether files were still to be measured when the job last got a reason to wait; None before the first one."""
    announce: bool = False
    """Whether the log still has to say when the clip starts. That needs a first check."""
    last_wait: Waiting | None = Waiting.GRACE
    """What it waited on at the last check."""


class GraceStage(Stage):
    """Owns the clips between their arrival and their claim."""

    states = (JobState.GRACE, JobState.QUEUED)
    needs_inputs = True

    def __init__(
        self,
        config: settings.Grace,
        *,
        store: JobStore,
        folder: InputsFolder,
        error_files: ErrorFiles,
        failed_attempts: FailedAttempts,
        files: SpecFiles,
        named: NamedFiles,
        prompts: PromptFilters,
    ) -> None:
        self._config = config
        self._store = store
        self._folder = folder
        self._error_files = error_files
        self._failed_attempts = failed_attempts
        self._files = files
        self._named = named
        self._prompts = prompts
        self._entries: dict[int, GraceEntry] = {}
        self._by_stem: dict[tuple[bytes, bytes], int] = {}
        """Folder and stem of each job's files, to the job. It keeps some that have left."""
        self._next_check = 0.0
        self._next_save = 0.0

    # -- a clip comes

    def enter(self, job: Job) -> None:
        """See Stage. A clip has arrived, or an attempt at it has ended and it waits for the next."""
        if job.state is JobState.QUEUED:
            self._resume(job)
        else:
            self._begin(job)

    def resume(self, job: Job) -> str:
        """See Stage."""
        if job.state is JobState.GRACE and job.spec_digest is None:  # povwatch ended between arrival and grace
            self._begin(job)
        else:
            self._resume(job)
        return ""

    def _begin(self, job: Job) -> None:
        """Write or read a clip's JSON and start its grace, or continue what was left of it."""
        now = self._store.clock.boot()
        info = VideoInfo.from_json(json.loads(job.source_info or "{}"))
        file, refused = None, None
        hold, go = job.hold, job.go
        try:
            if before := self._files.renamed_from(job):
                hold = before.hold
                hold, go = self._carry(job, before)
            file = self._files.ensure(job, info.duration) if job.look == OWN else self._files.existing(job)
            if job.look == OWN:
                self._files.write_variants(job, info.duration, held=hold)
        except EnvironmentFault as error:
            refused = error
        digest = file.digest if file else ""
        spec = self._files.meaning(job, file, info) if file else None
        if file and spec and self._done_already(job, spec, digest=None, stat=file.signature):
            return
        left = self._config.period
        if job.grace_left is not None and job.spec_digest == digest:
            left = job.grace_left
        begun = clockwork.begin(digest, left, now)
        wall = self._store.clock.wall()
        job = self._store.apply(job, GraceBegun(spec_digest=digest, grace_left=begun.left, hold=hold, go=go, now=wall))
        if info.damage:
            self._store.note(job, "damaged", {"problem": describe_damage(info.damage), "damage": info.damage})
        entry = self._open(job, begun, now)
        entry.announce = True
        if refused:
            self._refused(entry, refused, now)
        else:
            self._check(entry, now)

    def _carry(self, job: Job, before: Job) -> tuple[bool, bool]:
        """Copy the JSON of a renamed clip to its new name. Returns whether the job is held, and whether it may go.

        A hold always goes to the new name; a go only with the JSON that it was said for.
        """
        beside = layout.beside(before.path, before.stem)
        markers = self._folder.markers(beside)
        holder = holding.holder(self._store.journal.events(before.id)) if before.hold else ""
        if markers.hold or holder:
            held = {"marker": layout.shown(beside.hold)} if markers.hold else {"holder": holder}
            self._store.journal.note(job, holding.HELD_BEFORE, self._store.clock.wall(), held)
        with_json = self._files.carry(job, before) or not self._folder.exists(beside.spec)
        if job.look == OWN:
            self._files.carry_looks(job, before)
        return before.hold or markers.hold, (before.go or markers.go) if with_json else job.go

    def _resume(self, job: Job) -> None:
        """Go on with a job as the journal has it."""
        if job.path not in self._store.scope:
            return
        now, wall = self._store.clock.boot(), self._store.clock.wall()
        period = self._config.period
        resumed = clockwork.resume(
            *(job.spec_digest or "", period, now),
            left=period if job.grace_left is None else job.grace_left,
            away=wall - (job.grace_saved_at or wall),
            invalid_for=None if job.invalid_since is None else wall - job.invalid_since,
            stood=job.waiting_on not in clockwork.CLOCK_RUNS,
        )
        if job.state is JobState.QUEUED:
            resumed = dataclasses.replace(resumed, waiting=None, left=0.0)
        entry = self._open(job, resumed, now)
        entry.last_wait = resumed.waiting
        entry.announce = job.state is JobState.GRACE

    def _open(self, job: Job, grace: Grace, now: float) -> GraceEntry:
        self._entries[job.id] = entry = GraceEntry(job.id, grace, now)
        self._by_stem[layout.split(job.path)[0], job.stem] = job.id
        self._next_check = min(self._next_check, now)
        return entry

    # -- a clip goes

    def leave(self, job: Job) -> None:
        """See Stage. The time left of its grace is saved."""
        self._prompts.leave(job)
        entry = self._entries.pop(job.id, None)
        if entry is not None and job.state is JobState.GRACE:
            self._store.journal.save_grace({job.id: entry.grace.left}, self._store.clock.wall())

    def clip_gone(self, job: Job, specs: Sequence[bytes]) -> None:
        """See JobListener. The log says which JSONs belong to no clip now that somebody wrote or edited."""
        for spec in [*self._files.left_behind(job), *self._files.not_carried(specs)]:
            self._store.note(job, "spec-left", {"spec": spec})

    def cancel(self, job: Job, why: str) -> None:
        """See Stage."""
        self._error_files.clear(job)
        self._store.apply(job, Cancelled(why=why, source_stat=job.source_stat))

    def try_again(self, mishap: Mishap) -> None:
        """See Stage. The JSON is read as if for the first time."""
        job = mishap.job
        entry = self._entries.get(job.id)
        if entry is None:
            self._resume(job)
        else:
            entry.reading.forget()
        if job.state is JobState.QUEUED:
            at = self._store.clock.wall() + mishap.pause
            self._store.apply(job, PutOff(waiting=Waiting.RETRY_AT, detail=str(mishap.error), at=at))

    def give_up(self, job: Job, error: PovwatchError) -> None:
        """See Stage."""
        self._failed_attempts.fail(job, error)

    # -- what others ask

    def spec_of(self, job: Job) -> Spec | None:
        """The present JSON, read again for the claim; None unless the grace ran for it."""
        entry = self._entries.get(job.id)
        if entry is None:
            return None
        self._check(entry, self._store.clock.boot())
        if entry.missing_since is not None or self._store.job(job.id).state is not JobState.QUEUED:
            return None
        return entry.reading.spec if entry.grace.over else None

    def prompt_filters(self, job: Job) -> list[dict[str, Any]]:
        """See CurrentSpecs."""
        entry = self._entries.get(job.id)
        return self._prompts.ran(job, entry.reading.spec) if entry and entry.reading.spec else []

    def latest_spec(self, job: Job) -> Spec | None:
        """The JSON as it was last read; None if it cannot be run."""
        entry = self._entries.get(job.id)
        return entry.reading.spec if entry else None

    def grace_ends_at(self, job: Job) -> float | None:
        """When the grace ends, on the boot clock; None while its clock is stopped."""
        entry = self._entries.get(job.id)
        if entry is None or entry.grace.waiting is not Waiting.GRACE:
            return None
        return entry.grace.seen_at + entry.grace.left

    # -- when each clip is checked

    def check_soon(self, job: int | None) -> None:
        """Check a clip at the next tick, if it is here: somebody said or did something about it."""
        if job in self._entries:
            self._entries[job].due = self._next_check = 0.0

    def beside_changed(self, path: bytes) -> None:
        """See JobListener. `path` is a JSON, a marker, or an editor's lock or temporary file."""
        folder, name = layout.split(path)
        name = name.removeprefix(b".~lock.").removeprefix(b".#").removeprefix(b".")
        cut = name.rfind(b".json")
        self.check_soon(self._by_stem.get((folder, name[:cut] if cut > 0 else layout.stem_of(name))))

    def inputs_back(self, now: float) -> None:
        """See JobListener. Nobody could edit a JSON meanwhile, so that time does not count."""
        for entry in self._entries.values():
            entry.grace = dataclasses.replace(entry.grace, seen_at=now)
            entry.last_wait = None

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        if not self._entries:
            return None
        return 0.0 if self._named.answered or self._prompts.answered else self._next_check

    def tick(self, now: float) -> None:
        """Check every clip that is due."""
        while self._named.answered:
            self.check_soon(self._named.answered.pop())
        while self._prompts.answered:
            if entry := self._entries.get(job := self._prompts.answered.pop()):
                entry.reading.hear()
                self.check_soon(job)
        if now < self._next_check:
            return
        pause = max(CHECK_EVERY, len(self._entries) / CHECKS_A_SECOND)
        soonest = now + pause
        for entry in list(self._entries.values()):
            if entry.job in self._entries and entry.due <= now:
                entry.due = now + pause
                try:
                    self._check(entry, now)
                except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
                    self._store.mishaps.charge(entry.job, "checked the JSON of", error)
                entry.due = min(entry.due, self._due(entry, now))
            soonest = min(soonest, entry.due)
        self._next_check = max(soonest, now + TICK_EVERY)
        if now >= self._next_save:
            self._next_save = now + SAVE_EVERY
            left = {g.job: g.grace.left for g in self._entries.values() if not g.grace.over}
            if left:
                self._store.journal.save_grace(left, self._store.clock.wall())

    def _due(self, entry: GraceEntry, now: float) -> float:
        """When a clip has to be checked without any event."""
        if entry.missing_since is not None:
            return max(entry.missing_since + REWRITE_AFTER, now + CHECK_EVERY)  # or a look is withdrawn, a little later
        if entry.reading.unsure(now):
            return entry.reading.sure_at
        if entry.reading.unmeasured:
            return now + CHECK_EVERY
        if entry.grace.waiting is Waiting.GRACE:
            return entry.grace.seen_at + entry.grace.left
        return now + self._config.max

    # -- a check

    def _check(self, entry: GraceEntry, now: float) -> None:
        """Read the JSON, the markers and the editors' locks, and change the job if they say something new."""
        job = self._store.job(entry.job)
        beside = layout.beside(job.path, job.stem)
        try:
            if not self._read(entry, job) and not self._write_missing(entry, job, now):
                return
            if entry.reading.unsure(now):
                entry.grace = dataclasses.replace(entry.grace, seen_at=now)
                return
            markers = self._folder.markers(beside)
            entry.lock = self._folder.editor_open(beside.spec, self._store.clock.wall())
        except EnvironmentFault:  # inputs/ is away or refuses: the folder monitor says so, and the clock stops
            entry.grace = dataclasses.replace(entry.grace, seen_at=now)
            return
        reading = entry.reading
        start = reading.spec.povwatch.start if reading.spec else None
        go = job.go or markers.go
        if not job.hold:
            entry.holder = None
        elif entry.holder is None:
            entry.holder = holding.holder(self._store.journal.events(job.id))
        by = holding.held_by(job, beside, marker=markers.hold, go=go, start=start, holder=entry.holder or "")
        first = not entry.grace.digest
        sample = Sample(
            digest=reading.digest,
            valid=reading.spec is not None,
            editing=entry.lock is not None,
            hold=bool(by),
            go=go or (start == "now" and not entry.lock),
            unmeasured=bool(reading.unmeasured),
        )
        entry.grace = clockwork.observe(entry.grace, sample, now, period=self._config.period, limit=self._config.max)
        self._act_on_check(entry, by, first=first)

    def _read(self, entry: GraceEntry, job: Job) -> bool:
        """Read the JSON; False if there is none.

        Raises:
            EnvironmentFault: the folder is away, or fails.
        """
        found = self._files.read(entry.reading, job)
        if found:
            entry.missing_since = None
        return found

    def _write_missing(self, entry: GraceEntry, job: Job, now: float) -> bool:
        """Write a JSON again that has been missing for a while, and read it; False while there is none."""
        if entry.missing_since is None:
            entry.missing_since = now
        if now - entry.missing_since < REWRITE_AFTER or not self._folder.present(job.path):
            return False
        if why := self._files.withdrawn(job):
            if now - entry.missing_since >= WITHDRAWN_AFTER:
                self._error_files.clear(job)
                self._store.apply(job, SpecDeleted(why=why, source_stat=job.source_stat))
            return False
        try:
            duration = json.loads(job.source_info or "{}").get("duration")
            self._files.ensure(job, duration, again=bool(entry.grace.digest))
        except EnvironmentFault as error:
            self._refused(entry, error, now)
            return False
        entry.reading.forget()
        entry.grace = clockwork.begin("", self._config.period, now)
        return self._read(entry, job)

    def _refused(self, entry: GraceEntry, error: EnvironmentFault, now: float) -> None:
        """Let a clip wait because the folder does not take its JSON. The clock is stopped."""
        entry.grace = dataclasses.replace(entry.grace, seen_at=now)
        entry.last_wait = waiting_for(error)
        self._store.wait(self._store.job(entry.job), entry.last_wait, str(error))

    def _act_on_check(self, entry: GraceEntry, by: str, *, first: bool) -> None:
        """Act on a check, the `first` of this JSON or another. `by` says who holds the clip; empty if nobody does."""
        job = self._store.job(entry.job)
        grace, was = entry.grace, entry.last_wait
        entry.last_wait = grace.waiting
        if grace.invalid_since is None and job.invalid_since is not None:
            self._error_files.clear(job)
            job = self._store.apply(job, SpecValid(spec=layout.beside(job.path, job.stem).spec))
        if grace.expired:
            self._expire(entry, job)
            return
        if grace.over:
            self._queue(entry, job)
            return
        self._announce(entry, job)
        detail = self._detail(entry, by)
        hindered = grace.waiting is Waiting.GRACE and entry.reading.hindrance
        # The time left is also saved when the clock stops or starts, since it is shown meanwhile.
        keeps_time = grace.restarted or job.state is JobState.QUEUED or grace.waiting is not was
        newly_invalid = grace.invalid_since is not None and job.invalid_since is None
        # The deadline of a running grace is no news. The beginning and the end of measuring a file are.
        was_unmeasured, entry.was_unmeasured = entry.was_unmeasured, bool(entry.reading.unmeasured)
        runs = grace.waiting is Waiting.GRACE and was_unmeasured is False and not entry.reading.unmeasured
        same = grace.waiting is was and (runs or detail == job.detail)
        if same and not keeps_time and not newly_invalid:
            return
        found = GraceUpdated(
            waiting=Waiting.PAUSED if hindered else grace.waiting,
            detail=detail,
            spec_digest=grace.digest if grace.restarted else None,
            grace_left=grace.left if keeps_time else None,
            invalid=newly_invalid,
            now=self._store.clock.wall(),
        )
        event, fields = self._event(entry, job, was, found, by=by, first=first)
        news = GraceNews(**dataclasses.asdict(found), event_name=event, fields=fields) if event else found
        self._store.apply(job, news)

    # -- the end of a grace

    def _expire(self, entry: GraceEntry, job: Job) -> None:
        reading = entry.reading
        what = reading.problem.what if reading.problem else "its JSON cannot be run."
        error = joined(
            f"Its JSON could not be run for longer than grace.max: {what}", "Edit it, and it is taken in again."
        )
        rejected = SpecRejected(
            problem=what,
            error=error,
            error_file=self._error_files.there(job),
            spec_digest=reading.digest,
            spec_stat=reading.stat,
        )
        self._store.apply(job, rejected)

    def _queue(self, entry: GraceEntry, job: Job) -> None:
        if job.state is JobState.QUEUED and entry.grace.restarted:  # a go skips the grace of an edit; the spec is new
            job = self._store.apply(job, GraceAgain())
        if job.state is not JobState.GRACE:
            return
        reading = entry.reading
        assert reading.spec is not None  # noqa: S101 - grace is never over with an invalid spec
        self._error_files.clear(job)
        if self._done_already(job, reading.spec, digest=reading.digest, stat=reading.stat):
            return
        queued = Queued(
            ahead=len(self._store.in_state(JobState.QUEUED)),
            spec_digest=reading.digest,
            spec_stat=reading.stat,
            spec_hash=reading.spec.digest(),
        )
        self._store.apply(job, queued)

    def _done_already(self, job: Job, spec: Spec, *, digest: str | None, stat: bytes | None) -> bool:
        """Whether the same video was published with the same spec before; if so, its job ends here.

        `digest` is of the JSON's bytes, if the grace ran for them; `stat` is its signature.
        """
        if job.force or job.source_hash is None:
            return False
        done = self._store.journal.done_run(job, spec.digest(), self._files.engine)
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

    # -- what the log, the journal and the error file say

    def _announce(self, entry: GraceEntry, job: Job) -> None:
        """Log once when the clip starts if nobody does anything. If its clock is stopped, `_event` says why instead."""
        grace, entry.announce, wanted = entry.grace, False, entry.announce
        if wanted and grace.waiting is Waiting.GRACE and grace.left > 0 and not grace.restarted:
            say("grace", job, deadline=self._starts(grace), spec=layout.beside(job.path, job.stem).spec)

    def _detail(self, entry: GraceEntry, held_by: str) -> str:
        """What `jobs` and `why` say of the wait."""
        reading = entry.reading
        match entry.grace.waiting:
            case Waiting.INVALID_SPEC:
                return reading.problem.what if reading.problem else ""
            case Waiting.HELD:
                return held_by
            case Waiting.EDITING if entry.lock:
                return f"{layout.shown(entry.lock)} is there"
            case Waiting.GRACE if reading.unmeasured:
                compared = "compared with the clip"
                why = f"cannot be {compared} now: {reading.hindrance}" if reading.hindrance else f"is {compared} first"
                return f"the file of {reading.unmeasured} {why}"
            case Waiting.GRACE:
                return f"starts at {self._starts(entry.grace)}"
            case _:
                return ""

    def _event(  # noqa: PLR0911 - one for each event
        self, entry: GraceEntry, job: Job, was: Waiting | None, found: GraceUpdated, *, by: str, first: bool
    ) -> tuple[str, dict[str, object]]:
        """The event to log, and its fields; an empty name if there is no news.

        `was` is what the entry waited on before, `found` the change. For `by` and `first` see `_act_on_check`.
        """
        grace, problem = entry.grace, entry.reading.problem
        spec = layout.beside(job.path, job.stem).spec
        deadline = self._starts(grace)
        if grace.waiting is Waiting.INVALID_SPEC:
            assert problem is not None  # noqa: S101 - that is what invalid means
            if grace.restarted or was is not Waiting.INVALID_SPEC or found.detail != job.detail:
                file = self._error_files.invalid(job, problem)
                return "invalid-spec", {"spec": spec, "problem": problem.what, "error_file": file}
        elif grace.waiting is Waiting.HELD and (
            was is not Waiting.HELD or (found.detail != job.detail and not grace.restarted)  # held in another way now
        ):
            return "held", {"by": by}
        elif grace.waiting is Waiting.EDITING and was is not Waiting.EDITING:
            return "editing", {"spec": spec, "lock": entry.lock}
        elif grace.restarted:
            return "grace" if first else "edited", {"deadline": deadline, "spec": spec}
        elif was is Waiting.HELD and grace.waiting is not Waiting.HELD:
            return "unheld", {"deadline": deadline}
        elif was is Waiting.EDITING and grace.waiting is not Waiting.EDITING:
            return "editor-closed", {"spec": spec, "deadline": deadline}
        if found.waiting is Waiting.PAUSED and job.waiting_on is not Waiting.PAUSED:
            return "waiting", {"waiting": "paused", "detail": found.detail}
        return "", {}

    def _starts(self, grace: Grace) -> str:
        """When the clip starts, as a phrase that also fits a stopped clock."""
        if grace.waiting in RESUMES_WHEN:
            return f"{spell_duration(grace.left)} after {RESUMES_WHEN[grace.waiting]}"
        return self._store.clock.spell(grace.seen_at + grace.left)
