"""The clips between arrival and claim: how each comes, when it is looked at, what is left of its grace when it goes.

gatekeeper.py looks at one of them; grace.py decides.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from povwatch.core import layout
from povwatch.core.errors import EnvironmentFault
from povwatch.core.events import say
from povwatch.core.job import Job, JobState, Waiting
from povwatch.core.scope import ALL
from povwatch.core.units import spell_duration, spell_pace, spell_rate
from povwatch.engines.abilities import Abilities
from povwatch.grace import clock as clockwork
from povwatch.grace.entry import GraceEntry, SpecFiles
from povwatch.grace.gatekeeper import REWRITE_AFTER, GraceLook
from povwatch.grace.named_files import NamedFiles
from povwatch.grace.notes import GraceNotes
from povwatch.media.damage import in_words
from povwatch.spec.holding import HELD_BEFORE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from povwatch.config.settings import Config
    from povwatch.core.background import Background
    from povwatch.core.scope import Scope
    from povwatch.grace.clock import Grace
    from povwatch.journal.store import JobStore
    from povwatch.media.info import VideoInfo
    from povwatch.spec import Spec
    from povwatch.spec.error_files import ErrorFiles
    from povwatch.spec.inputs_folder import InputsFolder
    from povwatch.spec.prompts import Template

LOOK_EVERY = 0.5
"""Seconds between two looks at what lies beside a clip; longer where there are many."""

LOOKS_A_SECOND = 100
"""At most, over all clips whose time has not come: each is a tenth of a millisecond. Events make a look come sooner."""

TICK_EVERY = 0.05
"""Seconds between two passes over the clips, at least."""

SAVE_EVERY = 10.0
"""Seconds between two notes of what is left."""


class GraceStage:
    """Every clip between its arrival and its claim."""

    def __init__(
        self,
        config: Config,
        *,
        store: JobStore,
        folder: InputsFolder,
        error_files: ErrorFiles,
        background: Background,
        templates: Mapping[str, Template],
        engine: str,
        present: Callable[[bytes], bool],
        renamed_from: Callable[[Job], Job | None],
        ended: Callable[[Job], None],
        broken: Callable[[tuple[str, int], Exception], None],
        scope: Scope = ALL,
    ) -> None:
        self._scope = scope
        self._renamed_from = renamed_from
        self._folder = folder
        self._broken = broken
        self._ended = ended
        self._config = config
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
            ended=self._end,
        )
        self._grace: dict[int, GraceEntry] = {}
        self._by_base: dict[tuple[bytes, bytes], int] = {}
        """Folder and base of each clip, also of some that are no longer here, to its job."""
        self._next_look = 0.0
        self._next_save = 0.0

    # -- coming and going

    def admit(self, job: Job, info: VideoInfo) -> None:
        """A clip has arrived: see to its JSON and start its grace, or go on with what was left of it."""
        now, wall = self._store.clock.boot(), self._store.clock.wall()
        same_video = job.source_hash == info.sha256
        described = _described(info)
        say("arrived", job, **described)  # before the JSON that is written for it
        file, refused = None, None
        kept: dict[str, bool] = {}
        hashed = dataclasses.replace(job, source_hash=info.sha256)
        try:
            if before := self._renamed_from(hashed):
                kept = {"hold": before.hold}
                kept |= self._carry(hashed, before)
            file = self._files.ensure(hashed, info.duration)
        except EnvironmentFault as error:
            refused = error
        digest = file.digest if file else ""
        to: dict[str, Any] = {
            "source_hash": info.sha256,
            "source_stat": job.source_stat,
            "source_info": json.dumps(info.to_json()),
            **kept,
        }
        spec = self._files.meaning(job, file, info) if file else None
        hashed = dataclasses.replace(job, **to)
        if file and spec and self._keeper.done_already(hashed, spec, spec_stat=file.signature, **to):
            return
        if same_video and job.grace_left is not None and job.spec_digest == digest:
            begun = clockwork.begin(digest, job.grace_left, now)
        else:
            begun = clockwork.begin(digest, self._config.grace.period, now)
        job = self._store.record(
            job,
            "arrived",
            described,
            state=JobState.GRACE,
            waiting_on=Waiting.GRACE,
            detail="",
            spec_digest=digest,
            grace_left=begun.left,
            grace_saved_at=wall,
            **to,
        )
        if info.damage:
            self._store.note(job, "damaged", {"problem": in_words(info.damage), "damage": info.damage})
        gate = self._open(job, begun, now)
        gate.announce = True
        if refused:
            self._keeper.refused(gate, refused, now)
            return
        self._keeper.look(gate, now)

    def _carry(self, job: Job, before: Job) -> dict[str, bool]:
        """What was said of a clip goes along to its new name: its JSON, and the fields of the job that change.

        A hold goes along in any case; a go only with the JSON that it was said for.
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

    def left_behind(self, job: Job) -> None:
        """A clip is gone: say where its JSON lies, if somebody has edited that."""
        if spec := self._files.left_behind(job):
            self._store.note(job, "spec-left", {"spec": spec})

    def look_anew(self, job: Job) -> None:
        """A look at a job's JSON ended half way: read it as if for the first time."""
        gate = self._grace.get(job.id)
        if gate is None:
            self.resume(job)
        else:
            gate.digest = ""

    def resume(self, job: Job) -> None:
        """A job from before the last start."""
        if job.path not in self._scope:
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
        gate = self._open(job, resumed, now)
        gate.said = resumed.waiting
        gate.announce = job.state is JobState.GRACE

    def drop(self, job: Job) -> None:
        """A job is no longer between arrival and claim; what is left of its grace stays with it."""
        gate = self._grace.pop(job.id, None)
        if gate is not None and job.state is JobState.GRACE:
            self._store.journal.save_grace({job.id: gate.grace.left}, self._store.clock.wall())

    def spec_of(self, job: Job) -> Spec | None:
        """The JSON as it stands now, read again for the claim; None if it is not the one that the grace ran for."""
        gate = self._grace.get(job.id)
        if gate is None:
            return None
        self._keeper.look(gate, self._store.clock.boot())
        if gate.missing_since is not None or self._store.job(job.id).state is not JobState.QUEUED:
            return None
        return gate.spec if gate.grace.over else None

    def latest_spec(self, job: Job) -> Spec | None:
        """The JSON as it was read last; None if there is none that can be run."""
        gate = self._grace.get(job.id)
        return gate.spec if gate else None

    def deadline(self, job: Job) -> float | None:
        """When the grace ends, on the boot clock; None while it stands still."""
        gate = self._grace.get(job.id)
        if gate is None or gate.grace.waiting is not Waiting.GRACE:
            return None
        return gate.grace.seen_at + gate.grace.left

    def stand_still(self, now: float) -> None:
        """The inputs folder was away until now: nobody could edit a JSON, so that time does not count."""
        for gate in self._grace.values():
            gate.grace = dataclasses.replace(gate.grace, seen_at=now)
            gate.said = None

    # -- the timers

    def poke(self, job: Job) -> None:
        """Somebody said something about a clip: look at once."""
        self._poke(job.id)

    def hint(self, path: bytes) -> None:
        """A file changed that is no clip: if it lies beside one, look there at once.

        Args:
            path: a JSON, a marker, an editor's lock or its temporary file.
        """
        folder, name = layout.split(path)
        name = name.removeprefix(b".~lock.").removeprefix(b".#").removeprefix(b".")
        cut = name.rfind(b".json")
        job = self._by_base.get((folder, name[:cut] if cut > 0 else layout.stem_of(name)))
        if job in self._grace:
            self._grace[job].look_at = self._next_look = 0.0

    def next_deadline(self) -> float | None:
        """When `tick` has something to do."""
        return self._next_look if self._grace else None

    def tick(self, now: float) -> None:
        """Look at every clip whose time has come."""
        if now < self._next_look:
            return
        pause = max(LOOK_EVERY, len(self._grace) / LOOKS_A_SECOND)
        soonest = now + pause
        for gate in list(self._grace.values()):
            if gate.job in self._grace and gate.look_at <= now:
                gate.look_at = now + pause
                try:
                    self._keeper.look(gate, now)
                except Exception as error:  # noqa: BLE001 - whatever it is, it costs this job and no other
                    self._broken(("grace", gate.job), error)
                gate.look_at = min(gate.look_at, self._due(gate, now))
            soonest = min(soonest, gate.look_at)
        self._next_look = max(soonest, now + TICK_EVERY)
        if now >= self._next_save:
            self._next_save = now + SAVE_EVERY
            left = {g.job: g.grace.left for g in self._grace.values() if not g.grace.over}
            if left:
                self._store.journal.save_grace(left, self._store.clock.wall())

    def _open(self, job: Job, grace: Grace, now: float) -> GraceEntry:
        self._grace[job.id] = gate = GraceEntry(job.id, grace, now)
        self._by_base[layout.split(job.path)[0], job.base] = job.id
        self._next_look = min(self._next_look, now)
        return gate

    def _poke(self, job: int) -> None:
        gate = self._grace.get(job)
        if gate is not None:
            gate.look_at = self._next_look = 0.0

    def _end(self, job: Job) -> None:
        """A job ended at its gate."""
        self._grace.pop(job.id, None)
        self._ended(job)

    def _due(self, gate: GraceEntry, now: float) -> float:
        """When a clip's time comes by itself."""
        if gate.missing_since is not None:
            return max(gate.missing_since + REWRITE_AFTER, now + LOOK_EVERY)
        if gate.unsure(now):
            return gate.sure_at
        if gate.looking:
            return now + LOOK_EVERY
        if gate.grace.waiting is Waiting.GRACE:
            return gate.grace.seen_at + gate.grace.left
        return now + self._config.grace.max


def _described(info: VideoInfo) -> dict[str, object]:
    """What the log says of a clip that has arrived."""
    return {
        "frames": info.frames,
        "shape": f"{info.display_width}x{info.display_height}",
        "rate": spell_rate(info.fps),
        "pace": spell_pace(info.fps, constant=info.constant),
        "duration": spell_duration(info.duration),
        "codec": info.codec,
    }
