"""The reckoning: every clip that was ever dropped is accounted for. Each violation is one sentence.

For a daemon that came to rest and has ended. results.py looks at outputs/.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import duties
import ran
import results
from engines import tempers
from support import sound_journal
from world import LOOKS, digest

from povwatch.core import layout
from povwatch.core.errors import SpecInvalid
from povwatch.core.hook_record import HookState
from povwatch.core.job import Job, JobState, Waiting
from povwatch.journal import open_reader
from povwatch.spec.parse import parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from witness import Witness
    from world import World

    from povwatch.core.hook_record import HookRecord
    from povwatch.journal.reader import Event, JournalReader

S = JobState

HOPELESS = {
    tempers.RAISES: {S.FAILED},
    tempers.DIES: {S.FAILED},
    tempers.BLOCKED: {S.BLOCKED, S.FAILED},
}
"""How a clip may end whose JSON asks for that; any other one is done, or the soak itself killed it too often."""

FORESEEN = re.compile(
    rf"a bad temper|killed by SIGKILL|made no progress|not allowed|went down \d times|The hook {ran.BEFORE} failed"
)
"""Problems that the soak brought about."""

CHARGED_MAX = 3
"""Attempts that a clip has, and crashes."""

AT_REST = {Waiting.HELD, Waiting.INVALID_SPEC, Waiting.INCOMPLETE}
"""What a clip may wait on for ever."""


class JobStore:
    """All that is to be accounted for."""

    def __init__(self, world: World, witness: Witness) -> None:
        self._world = world
        self._witness = witness

    def violations(self) -> list[str]:
        """Whatever does not add up."""
        return list(self._all())

    def summary(self) -> str:
        """How many clips there were, and what became of them."""
        with open_reader(self._world.daemon.state) as journal:
            jobs = journal.jobs()
        states = ", ".join(f"{n} {state}" for state, n in Counter(str(job.state) for job in jobs).most_common())
        whole = sum(map(len, self._world.was.values()))
        return f"{whole} whole clips under {len(self._world.was)} names; {len(jobs)} jobs: {states}"

    def _all(self) -> Iterator[str]:
        world = self._world
        with closing(sqlite3.connect(f"file:{world.daemon.state / 'journal.sqlite3'}?mode=ro", uri=True)) as db:
            yield from sound_journal.violations(db)
        with open_reader(world.daemon.state) as journal:
            jobs = journal.jobs()
            looks = {(os.fsdecode(job.path), job.look): job for job in jobs}
            newest = {path: job for (path, look), job in looks.items() if not look}
            for job in jobs:
                yield from (f"job {job.id}, {os.fsdecode(job.path)}: {said}" for said in self._job(job, journal))
            yield from self._twice(jobs)
            yield from duties.violations(world, journal)
            yield from results.violations(world, self._witness, jobs)
        for path in {**world.clips, **world.odd}:
            yield from (f"{path}: {said}" for said in self._clip(path, newest.get(path)))
        for path in world.clips:
            for look in LOOKS:
                said = self._look(path, newest.get(path), looks.get((path, look)), look)
                yield from (f"{path}@{look}: {each}" for each in said)
        yield from self._files(jobs, list(looks.values()))
        yield from self._left(list(looks.values()))

    # -- jobs

    def _job(self, job: Job, journal: JournalReader) -> Iterator[str]:
        """What a job came to has a reason that the soak knows of."""
        path, events = os.fsdecode(job.path), journal.events(job.id)
        seed = json.loads(job.spec_json)["seed"] if job.spec_json else None
        if job.source_hash and job.source_hash not in self._world.was[path]:
            yield f"it was taken in with bytes that never lay there whole: {job.source_hash}"
        for event in events:
            problem = str(event.data.get("problem", ""))
            if event.event in {"retry", "failed", "blocked"} and not FORESEEN.search(problem):
                yield f"nobody brought that about: {problem}"
        match job.state:
            case S.CANCELLED if "clip was deleted" in job.detail and path not in self._world.gone:
                yield f"it was cancelled as gone, and never was: {job.detail}"
            case S.CANCELLED if "povwatch cancel" in job.detail and "cancel" not in self._world.said[path]:
                yield "it was cancelled by a word that nobody said"
            case S.REJECTED if path not in self._world.was_odd:
                yield f"it was rejected: {job.error}"
            case S.FAILED | S.BLOCKED if not self._may_fail(job, events, seed, journal.hooks(job.id)):
                yield f"it is {job.state}, for no reason of its own: {job.error}"
            case S.DONE if seed in HOPELESS and job.output and not _already(job):
                yield f"it is done, and cannot be: the seed {seed}"
        if not job.ended and job.waiting_on not in AT_REST:
            yield f"it never came to rest: {job.state}, {job.waiting_on}, {job.detail}"

    def _may_fail(self, job: Job, events: list[Event], seed: Any, hooks: Mapping[str, HookRecord]) -> bool:
        before = hooks.get(ran.BEFORE)
        if before is not None and before.state is HookState.FAILED:
            return job.state is S.FAILED and max(before.attempts, before.crashes) >= CHARGED_MAX
        if job.state in HOPELESS.get(seed, ()):
            return True
        charged = sum(event.event in {"retry", "failed"} for event in events)
        return job.state is S.FAILED and (job.crashes >= CHARGED_MAX or charged >= CHARGED_MAX)

    def _twice(self, jobs: list[Job]) -> Iterator[str]:
        """The same clip with the same JSON is published once, unless somebody insists."""
        done = [job for job in jobs if job.state is S.DONE]
        runs = Counter(_run_of(job) for job in done if not _already(job) and not job.force)
        for run, count in runs.items():
            if count > 1:
                ids = [job.id for job in done if _run_of(job) == run]
                yield f"{os.fsdecode(run[0])}: published {count} times with the same JSON: jobs {ids}"
        ran = {_run_of(job) for job in done if not _already(job)}
        for job in filter(_already, done):
            if _run_of(job) not in ran:
                yield f"job {job.id}: it is said to have been published before, and was not"

    # -- clips

    def _clip(self, path: str, job: Job | None) -> Iterator[str]:
        """What lies in inputs/ at the end is known, as it is."""
        world = self._world
        if job is None:
            yield "it is lost: there is no job for it"
            return
        said = f"job {job.id} is {job.state}, {job.waiting_on or ''} {job.detail}"
        if path in world.odd:
            if job.state not in {S.REJECTED, S.CANCELLED} and job.waiting_on is not Waiting.INCOMPLETE:
                yield f"no whole clip lies there, and {said}"
            return
        if job.state is S.CANCELLED:
            if "cancel" not in world.said[path] and not self._withdrawn(job):
                yield f"it is lost: it lies there, and {said}"
            return
        if job.source_hash != world.clips[path]:
            yield f"it is lost: other bytes lie there than {said} had"
            return
        yield from self._beside(path, job, said)

    def _withdrawn(self, job: Job) -> bool:
        """Whether somebody deleted its JSON, which is still not there."""
        return job.detail.startswith("its JSON was deleted") and not self._spec_of(job).exists()

    def _spec_of(self, job: Job) -> Path:
        return self._world.inputs / os.fsdecode(layout.beside(job.path, job.stem).spec)

    def _look(self, path: str, own: Job | None, job: Job | None, look: str) -> Iterator[str]:
        """A further look whose JSON lies beside a clip that has arrived is known, as it is."""
        world = self._world
        if own is None or own.state is S.ARRIVING or own.source_hash != world.clips[path]:
            return
        if not self._spec_of(replace(own, look=look)).exists():
            return
        if job is None:
            yield "it is lost: there is no job for it"
            return
        said = f"job {job.id} is {job.state}, {job.waiting_on or ''} {job.detail}"
        if job.state is S.CANCELLED:
            if "cancel" not in world.said[path]:
                yield f"it is lost: its JSON lies there, and {said}"
        elif job.source_hash != world.clips[path]:
            yield f"it is lost: other bytes lie there than {said} had"
        else:
            yield from self._beside(path, job, said)

    def _beside(self, path: str, job: Job, said: str) -> Iterator[str]:
        """The JSON and the markers are known too, as they are."""
        world, beside = self._world, layout.beside(job.path, job.stem)
        file = world.inputs / os.fsdecode(beside.spec)
        try:
            asked = parse(file.read_bytes(), clip_name=layout.split(job.path)[1], file="").digest()
        except (SpecInvalid, FileNotFoundError):
            asked = None
        if job.waiting_on is Waiting.INVALID_SPEC and asked is not None:
            yield f"its JSON is right, and {said}"
        if job.waiting_on is Waiting.HELD and not (
            os.fsdecode(beside.hold) in world.texts or "hold" in world.said[path]
        ):
            yield f"nobody holds it, and {said}"
        if job.waiting_on is Waiting.INCOMPLETE:
            yield f"it is whole, and {said}"
        if job.ended and job.spec_hash and asked not in {None, job.spec_hash}:
            yield f"its JSON was edited, and {said}: the edit is lost"

    # -- files

    def _files(self, jobs: list[Job], newest: list[Job]) -> Iterator[str]:
        """Nothing of people's was changed, and nothing else is there but what povwatch may write."""
        world = self._world
        bases = [layout.beside(job.path, job.stem) for job in newest]
        ours = {os.fsdecode(layout.beside(job.path, job.stem).spec) for job in jobs}  # of another base at another time
        wrong = {os.fsdecode(beside.error) for beside, job in zip(bases, newest, strict=True) if _is_wrong(job)}
        # An incomplete clip is told of after ten minutes: where the clock is set forward and it starts anew, at once.
        late = {
            os.fsdecode(beside.error)
            for beside, job in zip(bases, newest, strict=True)
            if world.counts["clock_set"] and job.waiting_on is Waiting.INCOMPLETE
        }
        there = {
            os.fspath(file.relative_to(world.inputs)): file for file in world.inputs.rglob("*") if not file.is_dir()
        }
        for path, sha in {**world.clips, **world.odd}.items():
            if path not in there or digest(there.pop(path).read_bytes()) != sha:
                yield f"a clip was changed: {path}"
        for path, data in world.texts.items():
            if path not in there or there.pop(path).read_bytes() != data:
                yield f"somebody's file was changed: inputs/{path}"
        here = {
            os.fsdecode(beside.error)
            for beside, job in zip(bases, newest, strict=True)
            if self._is_here(os.fsdecode(job.path)) and (not job.look or self._spec_of(job).exists())
        }
        for path in sorted(there.keys() - ours):
            if path not in wrong | late and (path in here or not self._came_along(path)):
                yield f"what is that in inputs/: {path}"
        for path in sorted((wrong & here) - there.keys()):
            yield f"an error file is missing: {path}"
        for path, data in world.shown.items():
            file = world.outputs / path
            if not file.exists() or file.read_bytes() != data:
                yield f"somebody's file was changed: outputs/{path}"

    def _came_along(self, path: str) -> bool:
        """Whether it is povwatch's word about a clip that was gone before its folder was moved."""
        folder, _, name = path.rpartition("/")
        return folder in self._world.moved_days and name.endswith((".json", ".error.txt"))

    def _is_here(self, path: str) -> bool:
        return path in self._world.clips or path in self._world.odd

    def _left(self, newest: list[Job]) -> Iterator[str]:
        """Staging, temporary files, requests."""
        world = self._world
        active = {str(job.id) for job in newest if not job.ended}
        for room in (world.outputs / ".povwatch").iterdir():
            if room.name.split(".")[0] not in active:
                yield f"left over in outputs/.povwatch: {room.name}"
        for file in [*world.inputs.rglob(".povwatch-*"), *world.daemon.state.glob("requests/*.request")]:
            yield f"left over: {file}"


def _run_of(job: Job) -> tuple[bytes, str, str | None, str | None]:
    return job.path, job.look, job.source_hash, job.spec_hash


def _already(job: Job) -> bool:
    return job.detail == "the same was published before"


def _is_wrong(job: Job) -> bool:
    return job.state in {S.FAILED, S.REJECTED, S.BLOCKED} or job.waiting_on is Waiting.INVALID_SPEC
