"""What follows for an attempt whose files were taken away: the daemon as production builds it."""

from __future__ import annotations

import shutil

import pytest
from structlog.testing import capture_logs

from povwatch.core.errors import JobFailed, Shortage, SourceChanged, WorkerDied
from povwatch.core.job import JobState, Waiting

ERRORS = [WorkerDied("It died."), JobFailed("The working copy cannot be read.")]
REFUSED = Shortage("Too many open files.", "Raise its limit.")


class Running:
    """A job that runs."""

    def __init__(self, built):
        self.built, self.app = built, built.app
        (job,) = self.app.store.add([(b"my a.mp4", b"sig")])
        self.id = job.id
        for state in (JobState.GRACE, JobState.QUEUED):
            self.put("waiting", state=state)
        self.start()

    def put(self, event, **to):
        self.built.move(self.job, event, **to)

    def start(self):
        self.put("started", state=JobState.RUNNING, run_id="run", attempts=1)
        self.app.publisher.staging.make(self.id, "run")

    def fail(self, error):
        """End the attempt with an error, as the run stage does."""
        self.app.failed_attempts.end(self.job, error)

    @property
    def job(self):
        return self.app.store.job(self.id)

    @property
    def uncharged(self):
        """Whether it waits for its next attempt as if it had had none."""
        return (self.job.state, self.job.waiting_on, self.job.attempts) == (JobState.QUEUED, Waiting.PAUSED, 0)

    @property
    def queue_waits(self):
        blocker = self.app.blockers.generating()
        return blocker and blocker.waiting


@pytest.fixture
def running(build):
    return Running(build())


@pytest.mark.parametrize("error", ERRORS, ids=["attempt", "job"])
def test_removed_files_charge_nothing(running, error):
    """No attempt is charged, and no job fails, for files that somebody removed."""
    shutil.rmtree(running.built.outputs)
    running.fail(error)
    assert running.uncharged
    assert running.queue_waits is Waiting.PAUSED
    assert "went away while it ran" in running.job.detail


@pytest.mark.parametrize("whole", [True, False], ids=["folder", "file"])
def test_work_removed_while_checked(running, whole):
    """Work that is removed while it is checked is told as that, and made again."""
    running.put("generated", state=JobState.CHECKING)
    if whole:
        shutil.rmtree(running.built.outputs / ".povwatch")
    running.fail(SourceChanged("working.mp4 is gone."))
    assert running.uncharged
    assert running.queue_waits is Waiting.PAUSED
    assert running.job.detail.startswith("The files of this attempt went away while it ran, and with them the work")


def test_job_is_told_unless_queue_waits(running):
    """A release is told, unless the queue already waits for the same."""
    told = []
    for _ in range(2):
        with capture_logs() as lines:
            running.fail(REFUSED)
        told.append([line["event"] for line in lines])
        assert running.uncharged
        assert running.job.detail == "Too many open files. Raise its limit."
        assert running.app.journal.events(running.id)[-1].event == "released"
        running.start()
    assert told == [["queue-paused", "released"], ["queue-paused"]]


def test_changed_clip_arrives_anew(running):
    """A clip that changes while it is copied arrives anew."""
    running.fail(SourceChanged("my a.mp4 changed."))
    assert running.queue_waits is None
    assert running.job.state is JobState.ARRIVING


def test_failed_job_says_how_to_retry(running):
    """A job that fails with its files in place says how to run it again."""
    running.fail(ERRORS[1])
    assert running.queue_waits is None
    assert running.job.state is JobState.FAILED
    text = (running.built.inputs / "my a.error.txt").read_text()
    assert "When that is fixed: povwatch retry 'my a.mp4'" in text
