"""The results stage's work in threads: finish, check and seal a job's files; publish them; seal them under other names.

These are functions of data. None reaches the journal.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from povwatch.core import layout, looks
from povwatch.core.errors import CheckFailed, FinishFailed
from povwatch.results.manifest import manifest

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from povwatch.attempt.attempt import Attempt, Wanted
    from povwatch.core.job import Job
    from povwatch.core.mailbox import Gauge
    from povwatch.media.info import Checked
    from povwatch.publish import Entry, Published, Publisher, Sealed
    from povwatch.publish.publisher import Describe, Names
    from povwatch.publish.staging import Staging

FINISHING = 0.6
"""The part of the progress that finishing and checking are; the rest is scoring."""


def finish_and_seal(
    cancelled: threading.Event,
    publisher: Publisher,
    job: Job,
    attempt: Attempt,
    *,
    gauge: Gauge,
    wanted: Wanted,
    pattern: str,
    started_at: str,
) -> tuple[Checked, Sealed]:
    """Finish, check and score the engine's artifact, and seal it under its final names.

    Args:
        cancelled: set when the result is no longer wanted.
        gauge: gets the progress of finishing, checking and scoring.
        pattern: `publish.layout`.
        started_at: ISO time for the manifest.

    Raises:
        PovwatchError: see `Attempt.finish` and `Publisher.seal`.
    """
    checked = attempt.finish(lambda fraction: gauge.set(fraction * FINISHING), cancelled)
    attempt.score(wanted, checked.frames, lambda fraction: gauge.set(FINISHING + fraction * (1 - FINISHING)), cancelled)
    if job.run_id is None:
        raise CheckFailed(f"Job {job.id} has no run.")
    names, describe = _naming(job, attempt, checked, pattern, started_at)
    try:
        sealed = publisher.seal(
            job.id, job.run_id, attempt.files, names=names, describe=describe, stopped=cancelled.is_set
        )
    except CheckFailed as error:  # povwatch's finished files are wrong; the artifact was right
        raise FinishFailed(error.what, error.todo) from error
    return checked, sealed


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
    pattern: str,
    started_at: str,
) -> Sealed:
    """Promise the next free names after one was taken; see `Publisher.reseal`."""
    names, describe = _naming(job, attempt, checked, pattern, started_at)
    return publisher.reseal(sealed, names=names, describe=describe)


def clear(_: threading.Event, staging: Staging, job_id: int) -> None:
    """Delete an ended job's private folders; see `Staging.delete_job`."""
    staging.delete_job(job_id)


def _naming(job: Job, attempt: Attempt, checked: Checked, pattern: str, started_at: str) -> tuple[Names, Describe]:
    """The results' names for each version, and the manifest for them."""
    kind, sheet = ("aug", "sheet") if attempt.capabilities.get("real") else ("preview", "preview_sheet")
    finished_at = datetime.now(UTC).isoformat(timespec="seconds")

    def names(version: int) -> list[bytes]:
        result = layout.output(pattern, job.path, job.base, looks.kind_of(kind, job.look), version)
        found = [result, *(layout.control(result, key) for key in attempt.controls)]
        if attempt.has_sheet:
            found.append(layout.sheet(pattern, job.path, job.base, looks.kind_of(sheet, job.look), version))
        return found

    def describe(entries: Sequence[Entry]) -> bytes:
        spec = attempt.frozen
        when = {"started_at": started_at, "finished_at": finished_at}
        return manifest(job, attempt, spec.upstream(), entries, checked, drawn=spec.drawn(), **when)

    return names, describe
