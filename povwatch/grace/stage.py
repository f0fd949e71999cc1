"""The grace stage: the clips between arrival and claim, and when each is looked at.

look.py looks at one of them; clock.py decides.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.changes import GraceBegun, PutOff
from povwatch.core.errors import EnvironmentFault, PovwatchError
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.stage import Stage
from povwatch.engines.abilities import Abilities
from povwatch.grace import clock as clockwork
from povwatch.grace.entry import GraceEntry, SpecFiles
from povwatch.grace.look import REWRITE_AFTER, GraceLook
from povwatch.grace.named_files import NamedFiles
from povwatch.grace.notes import GraceNotes
from povwatch.media.damage import in_words
from povwatch.media.info import VideoInfo
from povwatch.spec.holding import HELD_BEFORE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from povwatch.attempt.failed import FailedAttempts
    from povwatch.config.settings import Config
    from povwatch.core.background import Background
    from povwatch.grace.clock import Grace
    from povwatch.journal.store import JobStore
    from povwatch.spec import Spec
    from povwatch.spec.error_files import ErrorFiles
    from povwatch.spec.inputs_folder import InputsFolder
    from povwatch.spec.prompts import Template

LOOK_EVERY = 0.5
"""Seconds between two looks at the files beside a clip; longer if there are many clips."""

LOOKS_A_SECOND = 100
"""At most so many looks without an event: each takes a tenth of a millisecond. Events bring a look forward."""

TICK_EVERY = 0.05
"""Seconds between two passes over the clips, at least."""

SAVE_EVERY = 10.0
"""Seconds between two writes of the time left."""


class GraceStage(Stage):
    """Owns the clips between their arrival and their claim."""

    states = (JobState.GRACE, JobState.QUEUED)

    def __init__(
        self,
        config: Config,
        *,
        store: JobStore,
        folder: InputsFolder,
        error_files: ErrorFiles,
        background: Background,
        failed_attempts: FailedAttempts,
        templates: Mapping[str, Template],
        engine: str,
        present: Callable[[bytes], bool],
        renamed_from: Callable[[Job], Job | None],
    ) -> None:
        self._renamed_from = renamed_from
        self._folder = folder
        self._config = config
        self._failed_attempts = failed_attempts
        self._present = present
        self._store = store
        abilities = Abilities.of(engine, config.engine)
        named = NamedFiles(folder, background, abilities=abilities, settle=config.arrival.settle, known=self._poke)
        self._files = SpecFiles(config.spec, store, folder, templates=templates, abilities=abilities, named=named)
        self._notes = GraceNotes(store, error_files)
        self._keeper = GraceLook(
            config.grace,
            store=store,
            folder=folder,
            files=self._files,
            notes=self._notes,
            error_files=error_files,
            engine=engine,
            present=present,
        )
        self._entries: dict[int, GraceEntry] = {}
        self._by_base: dict[tuple[bytes, bytes], int] = {}
        """Folder and base of each clip, to its job. It keeps some that have left."""
        self._next_look = 0.0
        self._next_save = 0.0

    # -- coming and going

    def enter(self, job: Job) -> None:
        """See Stage. A clip has arrived, or an attempt at it has ended and it waits for the next."""
        if job.state is JobState.QUEUED:
            self._resume(job)
        else:
            self._begin(job)

    def leave(self, job: Job) -> None:
        """See Stage. The time left of its grace is saved."""
        entry = self._entries.pop(job.id, None)
        if entry is not None and job.state is JobState.GRACE:
            self._store.journal.save_grace({job.id: entry.grace.left}, self._store.clock.wall())

    def ended(self, job: Job) -> None:
        """See Stage. If the clip is gone and its JSON was edited, log where the JSON is."""
        if job.state is JobState.CANCELLED and not self._present(job.path) and (spec := self._files.left_behind(job)):
            self._store.note(job, "spec-left", {"spec": spec})

    def resume(self, job: Job, *, crashed: bool) -> str:
        """See Stage."""
        del crashed
        if job.state is JobState.GRACE and job.spec_digest is None:  # povwatch ended between arrival and grace
            self._begin(job)
        else:
            self._resume(job)
        return ""

    def release(self, job: Job, error: PovwatchError, pause: float) -> None:
        """See Stage. The JSON is read as if for the first time."""
        entry = self._entries.get(job.id)
        if entry is None:
            self._resume(job)
        else:
            entry.digest = ""
        if job.state is JobState.QUEUED:
            at = self._store.clock.wall() + pause
            self._store.apply(job, PutOff(waiting=Waiting.RETRY_AT, detail=str(error), at=at))

    def give_up(self, job: Job, error: PovwatchError) -> None:
        """See Stage."""
        self._failed_attempts.fail(job, error)

    def _begin(self, job: Job) -> None:
        """Write or read a clip's JSON and start its grace, or continue what was left of it."""
        now, wall = self._store.clock.boot(), self._store.clock.wall()
        info = VideoInfo.from_json(json.loads(job.source_info or "{}"))
        file, refused = None, None
        kept: dict[str, bool] = {}
        try:
            if before := self._renamed_from(job):
                kept = {"hold": before.hold}
                kept |= self._carry(job, before)
            file = self._files.ensure(job, info.duration)
        except EnvironmentFault as error:
            refused = error
        digest = file.digest if file else ""
        spec = self._files.meaning(job, file, info) if file else None
        if file and spec and self._keeper.done_already(job, spec, digest=None, stat=file.signature):
            return
        if job.grace_left is not None and job.spec_digest == digest:
            begun = clockwork.begin(digest, job.grace_left, now)
        else:
            begun = clockwork.begin(digest, self._config.grace.period, now)
        began = GraceBegun(
            spec_digest=digest,
            grace_left=begun.left,
            hold=kept.get("hold", job.hold),
            go=kept.get("go", job.go),
            now=wall,
        )
        job = self._store.apply(job, began)
        if info.damage:
            self._store.note(job, "damaged", {"problem": in_words(info.damage), "damage": info.damage})
        entry = self._open(job, begun, now)
        entry.announce = True
        if refused:
            self._keeper.refused(entry, refused, now)
            return
        self._keeper.look(entry, now)

    def _carry(self, job: Job, before: Job) -> dict[str, bool]:
        """Copy the JSON of a renamed clip to its new name. Returns the fields of the job that change.

        A hold always goes to the new name; a go only with the JSON that it was said for.
        """
        beside = layout.beside(before.path, before.base)
        markers = self._folder.markers(beside)
        if markers.hold:
            marker = {"marker": layout.shown(beside.hold)}
            self._store.journal.note(job, HELD_BEFORE, self._store.clock.wall(), marker)
        kept = {"hold": before.hold or markers.hold}
        if self._files.carry(job, before) or not self._folder.exists(beside.spec):
            kept["go"] = before.go or markers.go
        return kept

    def _resume(self, job: Job) -> None:
        """Go on with a job as the journal has it."""
        if job.path not in self._store.scope:
            return
        now, wall = self._store.clock.boot(), self._store.clock.wall()
        period = self._config.grace.period
        away = wall - (job.grace_saved_at or wall)
        invalid_for = None if job.invalid_since is None else wall - job.invalid_since
        left = 0.0 if job.state is JobState.QUEUED else (period if job.grace_left is None else job.grace_left)
        resumed = clockwork.resume(
            *(job.spec_digest or "", period, now),
            left=left,
            away=away,
            invalid_for=invalid_for,
            stood=job.waiting_on not in clockwork.RUNS,
        )
        if job.state is JobState.QUEUED:
            resumed = dataclasses.replace(resumed, waiting=None, left=0.0)
        entry = self._open(job, resumed, now)
        entry.last_wait = resumed.waiting
        entry.announce = job.state is JobState.GRACE

    def spec_of(self, job: Job) -> Spec | None:
        """The present JSON, read again for the claim; None unless the grace ran for it."""
        entry = self._entries.get(job.id)
        if entry is None:
            return None
        self._keeper.look(entry, self._store.clock.boot())
        if entry.missing_since is not None or self._store.job(job.id).state is not JobState.QUEUED:
            return None
        return entry.spec if entry.grace.over else None

    def latest_spec(self, job: Job) -> Spec | None:
        """The JSON as it was last read; None if it cannot be run."""
        entry = self._entries.get(job.id)
        return entry.spec if entry else None

    def deadline(self, job: Job) -> float | None:
        """When the grace ends, on the boot clock; None while its clock is stopped."""
        entry = self._entries.get(job.id)
        if entry is None or entry.grace.waiting is not Waiting.GRACE:
            return None
        return entry.grace.seen_at + entry.grace.left

    def inputs_back(self, now: float) -> None:
        """See Stage. Nobody could edit a JSON meanwhile, so that time does not count."""
        for entry in self._entries.values():
            entry.grace = dataclasses.replace(entry.grace, seen_at=now)
            entry.last_wait = None

    # -- the timers

    def poke(self, job: Job) -> None:
        """Look at a clip at once, since somebody said something about it."""
        self._poke(job.id)

    def beside_changed(self, path: bytes) -> None:
        """See Stage. Look at once at the clip that the file lies beside, if there is one.

        `path` is a JSON, a marker, or an editor's lock or temporary file.
        """
        folder, name = layout.split(path)
        name = name.removeprefix(b".~lock.").removeprefix(b".#").removeprefix(b".")
        cut = name.rfind(b".json")
        job = self._by_base.get((folder, name[:cut] if cut > 0 else layout.stem_of(name)))
        if job in self._entries:
            self._entries[job].look_at = self._next_look = 0.0

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._next_look if self._entries else None

    def tick(self, now: float) -> None:
        """Look at every clip that is due."""
        if now < self._next_look:
            return
        pause = max(LOOK_EVERY, len(self._entries) / LOOKS_A_SECOND)
        soonest = now + pause
        for entry in list(self._entries.values()):
            if entry.job in self._entries and entry.look_at <= now:
                entry.look_at = now + pause
                try:
                    self._keeper.look(entry, now)
                except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
                    self._store.mishaps.of(("grace", entry.job), error)
                entry.look_at = min(entry.look_at, self._due(entry, now))
            soonest = min(soonest, entry.look_at)
        self._next_look = max(soonest, now + TICK_EVERY)
        if now >= self._next_save:
            self._next_save = now + SAVE_EVERY
            left = {g.job: g.grace.left for g in self._entries.values() if not g.grace.over}
            if left:
                self._store.journal.save_grace(left, self._store.clock.wall())

    def _open(self, job: Job, grace: Grace, now: float) -> GraceEntry:
        self._entries[job.id] = entry = GraceEntry(job.id, grace, now)
        self._by_base[layout.split(job.path)[0], job.base] = job.id
        self._next_look = min(self._next_look, now)
        return entry

    def _poke(self, job: int) -> None:
        entry = self._entries.get(job)
        if entry is not None:
            entry.look_at = self._next_look = 0.0

    def _due(self, entry: GraceEntry, now: float) -> float:
        """When a clip has to be looked at without any event."""
        if entry.missing_since is not None:
            return max(entry.missing_since + REWRITE_AFTER, now + LOOK_EVERY)
        if entry.unsure(now):
            return entry.sure_at
        if entry.looking:
            return now + LOOK_EVERY
        if entry.grace.waiting is Waiting.GRACE:
            return entry.grace.seen_at + entry.grace.left
        return now + self._config.grace.max
