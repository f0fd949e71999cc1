"""The results stage's work in threads: finish, check and seal a job's files; publish them; seal them under other names.

These are functions of data. None reaches the journal.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.attempt.finishing import finish, score, sync_finished
from povwatch.attempt.judging import attempt_of, tries_of, try_of
from povwatch.core import layout, looks
from povwatch.core.errors import CheckFailed, FinishFailed, PovwatchError
from povwatch.core.mailbox import Gauge
from povwatch.core.quality import another, best, described
from povwatch.files.private import move
from povwatch.media.info import Checked
from povwatch.results.manifest import manifest

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from povwatch.attempt.attempt import Attempt
    from povwatch.attempt.finishing import ScoringOptions
    from povwatch.core.job import Job
    from povwatch.core.quality import Plan, Tries, Try
    from povwatch.publish import Entry, Published, Publisher, Sealed
    from povwatch.publish.publisher import Describe, Names
    from povwatch.publish.staging import Staging


def finish_and_seal(
    cancelled: threading.Event,
    publisher: Publisher,
    job: Job,
    attempt: Attempt,
    *,
    gauge: Gauge,
    options: ScoringOptions,
    plan: Plan,
    keep_rejected: bool = False,
    pattern: str,
    started_at: str,
) -> Finished:
    """Finish, check and score the engine's artifact, and seal it under its final names.

    If results are judged, the best try is sealed, or none yet.

    Args:
        cancelled: set when the result is no longer wanted.
        gauge: gets the progress of finishing, checking and scoring.
        options: whether and with what the result is scored.
        plan: how results are judged.
        keep_rejected: whether the other tries are published too.
        pattern: `publish.layout`.
        started_at: ISO time for the manifest.

    Raises:
        PovwatchError: see `finishing.finish` and `Publisher.seal`.
    """
    checked = finish(attempt, gauge, cancelled)
    score(attempt, options, checked.frames, gauge, cancelled)
    if job.run_id is None:
        raise CheckFailed(f"Job {job.id} has no run.")
    tries = tries_of(job)
    rejected: list[Path] = []
    if plan.judges:
        tries = tries.with_try(try_of(job, attempt, checked))
        if another(plan, tries):
            sync_finished(attempt)
            return Finished(checked, attempt, job.run_id, tries)
        chosen = best(plan, tries.over)
        if chosen.run_id != job.run_id:
            job, attempt = replace(job, run_id=chosen.run_id), attempt_of(chosen)
            checked = Checked.from_json(chosen.checked)
            _finish_again(attempt, cancelled)
        if keep_rejected:
            tries, rejected = _beside(attempt, tries, chosen, cancelled)
    names, describe = _naming(job, attempt, checked, plan, tries, pattern=pattern, started_at=started_at)
    files = [*attempt.files, *rejected]
    try:
        sealed = publisher.seal(
            job.id, job.run_id or "", files, names=names, describe=describe, stopped=cancelled.is_set
        )
    except CheckFailed as error:  # povwatch's finished files are wrong; the artifact was right
        raise FinishFailed(error.what, error.todo) from error
    return Finished(checked, attempt, sealed.run_id, tries, sealed)


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished result; with `sealed`, the one that is published."""

    checked: Checked
    attempt: Attempt
    run_id: str
    """Of the attempt."""
    tries: Tries
    """All that are over."""
    sealed: Sealed | None = None
    """The promise; None if another seed is tried first."""


def _finish_again(attempt: Attempt, cancelled: threading.Event) -> None:
    """Finish an earlier try once more if its files are gone, as after an error of the disk while they were sealed."""
    if not all(file.is_file() for file in attempt.files):
        finish(attempt, Gauge(), cancelled)
        attempt.scored = attempt.scored | {"sheet": False}


def _beside(attempt: Attempt, tries: Tries, chosen: Try, cancelled: threading.Event) -> tuple[Tries, list[Path]]:
    """Move the results of the other tries into the folder of the best one; those that cannot be had are left out."""
    over, files = [], []
    for one in tries.over:
        kept = False
        if one.run_id != chosen.run_id and one.attempt:
            file = Path(attempt.folder, f"seed_{one.seed}.mp4")
            with suppress(OSError, PovwatchError):
                if not file.is_file():  # it was moved before povwatch ended
                    other = attempt_of(one)
                    _finish_again(other, cancelled)
                    move(other.folder, other.final.name, attempt.folder, file.name)
                kept = True
                files.append(file)
        over.append(replace(one, kept=kept))
    return replace(tries, over=tuple(over)), files


def keep_promise(cancelled: threading.Event, publisher: Publisher, sealed: Sealed) -> Published:
    """Keep a promise; see `Publisher.publish`."""
    return publisher.publish(sealed, cancelled.is_set)


def seal_anew(
    _: threading.Event,
    publisher: Publisher,
    sealed: Sealed,
    job: Job,
    attempt: Attempt,
    checked: Checked,
    *,
    plan: Plan,
    pattern: str,
    started_at: str,
) -> Sealed:
    """Promise the next free names after one was taken; see `Publisher.reseal`."""
    names, describe = _naming(job, attempt, checked, plan, tries_of(job), pattern=pattern, started_at=started_at)
    return publisher.reseal(sealed, names=names, describe=describe)


def clear(_: threading.Event, staging: Staging, job_id: int) -> None:
    """Delete an ended job's private folders; see `Staging.delete_job`."""
    staging.delete_job(job_id)


def _naming(  # one for each thing that a name or the manifest has
    job: Job, attempt: Attempt, checked: Checked, plan: Plan, tries: Tries, *, pattern: str, started_at: str
) -> tuple[Names, Describe]:
    """The results' names for each version, and the manifest for them."""
    kind, sheet = ("aug", "sheet") if attempt.capabilities.get("real") else ("preview", "preview_sheet")
    finished_at = datetime.now(UTC).isoformat(timespec="seconds")

    def names(version: int) -> list[bytes]:
        result = layout.output(pattern, job.path, job.base, looks.kind_of(kind, job.look), version)
        found = [result, *(layout.control(result, key) for key in attempt.controls)]
        if attempt.has_sheet:
            found.append(layout.sheet(pattern, job.path, job.base, looks.kind_of(sheet, job.look), version))
        return [*found, *(layout.rejected(result, one.seed) for one in tries.over if one.kept)]

    def describe(entries: Sequence[Entry]) -> bytes:
        spec = attempt.frozen
        when = {"started_at": started_at, "finished_at": finished_at}
        judged = described(plan, tries, job.run_id or "") if plan.judges else None
        return manifest(job, attempt, spec.upstream(), entries, checked, drawn=spec.drawn(), judged=judged, **when)

    return names, describe
