"""Makes the private copy and the working copy of a clip: at its claim, or ahead of it while a worker generates.

The rules for making them ahead:

1. It claims, freezes and charges nothing: the JSON may be edited until the claim.
2. It is only done for the jobs that would be claimed next, one for each generating worker, and never while no job may
   start.
3. The claim uses the copies if the clip and the files that its JSON names are unchanged; other edits do not matter.
   Otherwise they are deleted and made again.
4. They are in the private folder of their future attempt, whose `run_id` exists before the claim. After a crash the
   next start removes them, like the folder of any attempt that is not under way.
5. A failure is silent: the claim meets it again, and decides.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.attempt.attempt import Attempt
from povwatch.attempt.engine_files import (
    complete,
    forget_control_files,
    keep_control_files,
    keep_source,
    kept_missing,
    take_control_files,
)
from povwatch.attempt.judging import attempt_of, real_plan, tries_of
from povwatch.attempt.made_files import By
from povwatch.core import layout
from povwatch.core.background import JobWork
from povwatch.core.changes import FoundInClip
from povwatch.core.errors import JobFailed, PovwatchError
from povwatch.core.events import say
from povwatch.core.job import Job, JobState
from povwatch.core.quality import Tries
from povwatch.core.units import spell_duration, spell_size
from povwatch.engines.annotate.annotation import to_compute
from povwatch.engines.control_files import used_by
from povwatch.files.fs import closing, open_beneath
from povwatch.files.signature import signature
from povwatch.hooks.plan import remedy
from povwatch.media.damage import describe_damage, describe_sizes
from povwatch.run.shared import ClipsShared
from povwatch.workers.pool import ActiveAttempt

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from povwatch.config.settings import Config
    from povwatch.core.background import Background
    from povwatch.core.mailbox import Gauge
    from povwatch.engines.annotate.annotator import Annotator
    from povwatch.journal.store import JobStore
    from povwatch.publish.staging import Staging
    from povwatch.queue.order import JobQueue
    from povwatch.run.shared import SharedCopies
    from povwatch.spec.current import CurrentSpecs
    from povwatch.spec.model import Spec

CHECK_EVERY = 0.5
"""Seconds between two checks for jobs to prepare ahead: each may read a JSON."""

FINDINGS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("damaged", "damage", describe_damage),
    ("resized", "resized", describe_sizes),
)
"""What decoding every frame may find: the event, the field of VideoInfo, and its description."""


class Preparing:
    """Makes the copies."""

    def __init__(
        self,
        config: Config,
        *,
        store: JobStore,
        queue: JobQueue,
        specs: CurrentSpecs,
        staging: Staging,
        background: Background,
        annotator: Annotator | None,
    ) -> None:
        """Prepare nothing yet.

        Args:
            annotator: computes controls that need a model; None if the engine does that itself.
        """
        self._inputs = config.paths.inputs
        self._layout = config.publish.layout
        self._keep_controls = config.publish.keep_controls
        self._speed = config.engine.speed
        self._hooks = config.hooks
        self._quality = config.quality
        self._store = store
        self._queue = queue
        self._specs = specs
        self._staging = staging
        self._background = background
        self._annotator = annotator
        self._ahead: dict[int, ActiveAttempt] = {}
        """The attempts that nobody has claimed, by their jobs."""
        self._unwanted: dict[str, ActiveAttempt] = {}
        """Attempts whose copies are still being made and will be deleted."""
        self._failed: dict[int, str | None] = {}
        """Jobs that could not be prepared ahead, to the hash of their clip."""
        self._next_check = 0.0
        self._shared = ClipsShared(store, staging)

    # -- at the claim

    def take(self, job: Job, spec: Spec) -> ActiveAttempt | None:
        """The attempt whose copies were begun ahead, for a job that is about to be claimed; None if there is none."""
        active = self._ahead.get(job.id)
        if active is None:
            return None
        if not self._fits(active, job, spec):
            self._drop(job.id)
            return None
        del self._ahead[job.id]
        active.attempt.spec = frozen(spec)
        active.attempt.speed = spec.povwatch.speed or self._speed
        active.started = self._store.clock.boot()
        return active

    def begin(self, job: Job, run_id: str, spec: Spec) -> ActiveAttempt:
        """Make the copies for an attempt, which then is `prepared` or has a `failure`.

        Raises:
            PovwatchError: the private folder cannot be made.
        """
        folder = self._staging.make(job.id, run_id)
        attempt = Attempt(
            folder=str(folder),
            info=json.loads(job.source_info or "{}"),
            spec=frozen(spec),
            keep_controls=self._keep_controls,
            speed=spec.povwatch.speed or self._speed,
            outputs=str(self._staging.outputs),
            results=self._results(job),
        )
        active = ActiveAttempt(job.id, run_id, attempt, self._store.clock.boot(), job.source_hash)
        self._background.submit(
            _key(active),
            partial(self._ended, active),
            _prepare,
            *(attempt, self._inputs, job.path, active.making),
            shared=self._shared.of(job),
            todo=remedy(self._hooks, job, spec.povwatch.keep or ""),
            annotator=self._annotator,
            before=_tried_before(job),
        )
        return active

    def share_controls(self, job: Job, attempt: Attempt) -> None:
        """Give an attempt what other looks and seeds have computed, right before its engine begins.

        An engine computes edge and vis while it generates, so that no GPU waits for them. It leaves them as files if
        another look waits, or another seed follows.

        Raises:
            PovwatchError: the private folder is gone, or is not povwatch's.
        """
        shared = self._shared.of(job)
        # a seed's second attempt computes them: the first may have failed because of them
        before = _tried_before(job) if job.attempts <= 1 else None
        take_control_files(attempt, shared.files if shared is not None else None, before)
        looks = shared is not None and self._shared.wanted_after(job)
        attempt.leaves_control_files = looks or self._seed_follows(job, attempt)

    def keep_controls(self, job: Job, attempt: Attempt) -> None:
        """Keep what an attempt's engine has computed, while another look of its clip waits."""
        for key, digest in used_by(attempt.artifact).items():
            _say_taken(job, key, attempt.who_computed(digest))
        shared = self._shared.of(job)
        if shared is not None and self._shared.wanted_after(job):
            with suppress(OSError, PovwatchError):  # outputs/ is away or fails: the next look computes them
                for one in keep_control_files(attempt, shared.files):
                    say("control-kept", job, key=one.key, size=spell_size(one.size))

    def forget_controls(self, job: Job, attempt: Attempt) -> None:
        """Have the controls computed anew that an attempt has got from other looks of its clip, and that has failed."""
        if (shared := self._shared.of(job)) is not None:
            forget_control_files(attempt, shared.files)

    def cancel(self, active: ActiveAttempt) -> None:
        """Stop making the copies of a claimed attempt that is no longer wanted."""
        self._background.cancel(_key(active))

    # -- ahead

    def tick(self, now: float, *, wanted: int) -> None:
        """Delete copies that are no longer useful, and prepare so many jobs ahead. `now` is on the boot clock."""
        self._shared.tick()
        for job_id, active in list(self._ahead.items()):
            job = self._store.job(job_id)
            if job.state is not JobState.QUEUED or job.source_hash != active.source_hash:
                self._drop(job_id)
        if now < self._next_check or len(self._ahead) >= wanted:
            return
        self._next_check = now + CHECK_EVERY
        for job in islice(self._queue.due(), wanted):
            if job.id in self._ahead or self._failed.get(job.id, "") == job.source_hash:
                continue
            spec = self._specs.spec_of(job)
            if spec is not None:
                self._begin_ahead(self._store.job(job.id), spec)

    def drop_all(self) -> None:
        """Delete everything that was prepared ahead, and the copies that looks share."""
        self._shared.drop_all()
        for job_id in list(self._ahead):
            self._drop(job_id)

    def close(self) -> None:
        """Delete the copies that nobody has claimed. No work may be under way."""
        self._shared.drop_all()
        for active in [*self._unwanted.values(), *self._ahead.values()]:
            self._discard(active)
        self._unwanted.clear()
        self._ahead.clear()

    # -- helpers

    def _seed_follows(self, job: Job, attempt: Attempt) -> bool:
        """Whether another seed follows this one, as far as it is known: the first result may pass."""
        plan, over = real_plan(self._quality, attempt.frozen.povwatch), len(tries_of(job).over)
        return over + 1 < plan.most and (plan.every or over > 0)

    def _begin_ahead(self, job: Job, spec: Spec) -> None:
        referenced = self._referenced(job, spec)
        try:
            active = self.begin(job, uuid.uuid4().hex, spec)
        except PovwatchError:
            self._failed[job.id] = job.source_hash
        else:
            active.referenced = referenced
            self._ahead[job.id] = active

    def _ended(self, active: ActiveAttempt, outcome: str | Exception) -> None:
        ahead = self._ahead.get(active.job) is active
        if self._unwanted.pop(active.run_id, None):
            self._discard(active)
        elif isinstance(outcome, Exception):
            if ahead:
                del self._ahead[active.job]
                self._failed[active.job] = active.source_hash
                self._discard(active)
            else:
                active.failure = outcome
        else:
            active.prepared = True
            job = self._store.job(active.job)
            if job.state is JobState.QUEUED or (job.state is JobState.RUNNING and job.run_id == active.run_id):
                self._note_findings(job, active.attempt.info)
            self._log(active, ahead=ahead, taken=outcome)

    def _note_findings(self, job: Job, info: dict[str, Any]) -> None:
        """Journal and log what decoding every frame found in a clip, unless that is known. `info` is a VideoInfo."""
        for what, field, describe in FINDINGS:
            known = json.loads(job.source_info or "{}")
            if info.get(field) and known.get(field) != info[field] and known.get("sha256") == info["sha256"]:
                fields = {"problem": describe(info[field]), field: info[field]}
                job = self._store.apply(job, FoundInClip(event_name=what, fields=fields, source_info=json.dumps(info)))

    def _log(self, active: ActiveAttempt, *, ahead: bool, taken: str) -> None:
        made = active.attempt.prepared
        how = "the clip as it is" if made["copied"] else f"made in {spell_duration(active.attempt.seconds['prepare'])}"
        if taken:
            how = taken
        if ahead:
            how += ", ahead of its turn"
        shape = f"{made['width']}x{made['height']}"
        say("prepared", self._store.job(active.job), frames=made["frames"], shape=shape, how=how)
        if kept := active.attempt.kept:
            say(
                "kept",
                self._store.job(active.job),
                file=kept["file"],
                share=f"{100 * kept['covered']:.1f}",
                dilate=kept["dilate"],
                scaled=active.attempt.scaled_mask,
            )

        for key, made in active.attempt.annotated.items():
            self._log_annotated(job_id=active.job, key=key, made=made, seconds=active.attempt.seconds.get(key, 0.0))

    def _log_annotated(self, *, job_id: int, key: str, made: dict[str, Any], seconds: float) -> None:
        job = self._store.job(job_id)
        if made["computed_by"] != By.THIS:
            _say_taken(job, key, By(made["computed_by"]))
            return
        say("control-computed", job, key=key, took=spell_duration(seconds), device=made.get("device", "?"))
        for note in made.get("notes", ()):
            say("control-note", job, key=key, note=note)

    def _fits(self, active: ActiveAttempt, job: Job, spec: Spec) -> bool:
        """Whether the prepared copies are the ones that would be made now."""
        return (
            active.source_hash == job.source_hash
            and active.referenced is not None
            and active.referenced == self._referenced(job, spec)
            and (not active.prepared or Path(active.attempt.prepared["path"]).is_file())
        )

    def _referenced(self, job: Job, spec: Spec) -> list[Any] | None:
        """The files that a spec names, with their signatures, and what a mask of what is kept is made of.

        None if one cannot be read.
        """
        folder, found = layout.split(job.path)[0], []
        try:
            with closing(os.open(self._inputs, os.O_RDONLY | os.O_DIRECTORY)) as root:
                for where, path in sorted(spec.referenced_paths().items()):
                    below = os.path.join(folder, os.fsencode(path))  # noqa: PTH118 - bytes
                    with closing(open_beneath(root, below, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)) as fd:
                        found.append((where, path, signature(os.fstat(fd))))
        except OSError:
            return None
        if self._annotator is not None:
            found += [(one.field, one.prompt, b"") for one in to_compute(spec.upstream())]
        kept = keep_source(spec, str(self._staging.outputs), self._results(job))
        return found if kept is None else [*found, (spec.kept_as, kept)]

    def _results(self, job: Job) -> str:
        """The clip's folder in outputs/, relative, where its hooks leave their files."""
        return os.fsdecode(layout.split(layout.output(self._layout, job.path, job.base, "aug"))[0])

    def _drop(self, job_id: int) -> None:
        active = self._ahead.pop(job_id)
        if self._background.busy(_key(active)):
            self._unwanted[active.run_id] = active
            self._background.cancel(_key(active))
        else:
            self._discard(active)

    def _discard(self, active: ActiveAttempt) -> None:
        with suppress(PovwatchError):  # outputs/ is away: swept at the next start
            self._staging.delete_attempt(active.job, active.run_id)


def frozen(spec: Spec) -> dict[str, Any]:
    """A spec as JSON, for the journal and for a worker."""
    return spec.model_dump(mode="json", by_alias=True)


def _prepare(
    cancelled: threading.Event,
    attempt: Attempt,
    inputs: Path,
    clip: bytes,
    making: Gauge,
    *,
    shared: SharedCopies | None,
    annotator: Annotator | None,
    todo: str,
    before: Attempt | None = None,
) -> str:
    """Make or get an attempt's copies, and what is made with them; whose the copies were, in words, if they were there.

    Args:
        before: the attempt that tried another seed.

    Raises:
        JobFailed: the file that the spec keeps is not there. `todo` says what to do then.
    """
    if file := kept_missing(attempt.frozen, attempt.outputs, attempt.results):
        raise JobFailed(f"{file} is not there.", todo)
    taken = ""
    if before is not None and attempt.adopt(before):
        taken = "as for the seed before"
    elif shared is None:
        attempt.prepare(inputs, clip, making.set, cancelled)
    elif shared.give(attempt, inputs, clip, making.set, cancelled):
        taken = "shared with another look"
    files = shared.files if shared else None
    complete(attempt, inputs, clip, cancelled, shared=files, before=before, annotator=annotator, gauge=making)
    return taken


def _say_taken(job: Job, key: str, by: By) -> None:
    say("control-taken", job, key=key, by="another look of the clip" if by is By.LOOK else by)


def _tried_before(job: Job) -> Attempt | None:
    """The attempt that tried the last seed at the same clip, whose copies can be used."""
    over = [one for one in Tries.from_json(job.tries).over if one.attempt and one.source_hash == job.source_hash]
    return attempt_of(over[-1]) if over else None


def _key(active: ActiveAttempt) -> JobWork:
    return JobWork(active.job, "prepared", active.run_id)
