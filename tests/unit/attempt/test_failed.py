"""What follows for an attempt whose files were taken away: real journal, real folders."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from support.hand_clock import HandClock
from support.put import put

from povwatch.attempt.failed import FailedAttempts
from povwatch.config.settings import Config, Paths
from povwatch.core.errors import JobFailed, Shortage, SourceChanged, WorkerDied
from povwatch.core.job import JobState, Waiting
from povwatch.journal import Journal
from povwatch.journal.store import JobStore
from povwatch.publish.staging import Staging
from povwatch.spec.error_files import ErrorFiles
from povwatch.spec.inputs_folder import InputsFolder


@pytest.fixture
def desk(tmp_path):
    """Endings, a running job, and what the endings told."""
    paths = Paths(inputs=tmp_path / "inputs", outputs=tmp_path / "outputs", state=tmp_path / "state")
    for path in (paths.inputs, paths.outputs):
        path.mkdir()
    with Journal.open(paths.state) as journal:
        store, staging, told = JobStore(journal, HandClock()), Staging(paths.outputs), []
        failed_attempts = FailedAttempts(
            Config(paths=paths),
            store=store,
            error_files=ErrorFiles(InputsFolder(paths.inputs), journal),
            staging=staging,
            pauses=SimpleNamespace(pause=lambda waiting, *_, **__: told.append(waiting)),
        )
        (job,) = store.add([(b"my a.mp4", b"sig")])
        for state in (JobState.GRACE, JobState.QUEUED):
            job = put(store, job, "waiting", state=state)
        job = put(store, job, "started", state=JobState.RUNNING, run_id="run", attempts=1)
        staging.make(job.id, "run")
        yield failed_attempts, job, told, paths


ERRORS = [WorkerDied("It died."), JobFailed("The working copy cannot be read.")]


@pytest.mark.parametrize("error", ERRORS, ids=["attempt", "job"])
def test_removed_files_charge_nothing(desk, error):
    """No attempt is charged, and no job fails, for files that somebody removed."""
    failed_attempts, job, told, paths = desk
    shutil.rmtree(paths.outputs)
    failed_attempts.after(job, error)
    again = failed_attempts._store.job(job.id)
    assert (again.state, again.waiting_on, again.attempts) == (JobState.QUEUED, Waiting.PAUSED, 0)
    assert told == [Waiting.PAUSED]
    assert "went away while it ran" in again.detail


@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_work_removed_while_checked(desk, whole):
    """Work that is removed while it is checked is told as that, and made again."""
    failed_attempts, job, told, paths = desk
    job = put(failed_attempts._store, job, "generated", state=JobState.CHECKING)
    if whole:
        shutil.rmtree(paths.outputs / ".povwatch")
    failed_attempts.after(job, SourceChanged("working.mp4 is gone."))
    again = failed_attempts._store.job(job.id)
    assert (again.state, again.waiting_on, again.attempts) == (JobState.QUEUED, Waiting.PAUSED, 0)
    assert told == [Waiting.PAUSED]
    assert again.detail.startswith("The files of this attempt went away while it ran, and with them the work")


@pytest.mark.parametrize("known", [True, False])
def test_job_is_told_unless_queue_waits(desk, monkeypatch, known):
    """A release is told, unless the queue already waits for the same."""
    failed_attempts, job, _, _ = desk
    monkeypatch.setattr(failed_attempts._pauses, "pause", lambda *_, **__: known)
    with capture_logs() as lines:
        failed_attempts.after(job, Shortage("Too many open files.", "Raise its limit."))
    assert [line["event"] for line in lines] == ([] if known else ["released"])
    again = failed_attempts._store.job(job.id)
    assert (again.state, again.attempts, again.detail) == (JobState.QUEUED, 0, "Too many open files. Raise its limit.")
    assert failed_attempts._store.journal.events(job.id)[-1].event == "released"


def test_changed_clip_arrives_anew(desk):
    """A clip that changes while it is copied arrives anew."""
    failed_attempts, job, told, _ = desk
    failed_attempts.after(job, SourceChanged("my a.mp4 changed."))
    assert told == []
    assert failed_attempts._store.job(job.id).state is JobState.ARRIVING


def test_failed_job_says_how_to_retry(desk):
    """A job that fails with its files in place says how to run it again."""
    failed_attempts, job, told, paths = desk
    failed_attempts.after(job, ERRORS[1])
    assert told == []
    assert failed_attempts._store.job(job.id).state is JobState.FAILED
    text = (paths.inputs / "my a.error.txt").read_text()
    assert "When that is mended: povwatch retry 'my a.mp4'" in text
