"""What follows for a job when one of its hooks has ended: real journal, a clock that is set by hand."""

from __future__ import annotations

import dataclasses

import pytest
from support.hand_clock import HandClock
from support.put import put

from povwatch.config.hooks import Hook
from povwatch.config.settings import Config, Engine
from povwatch.core.errors import DiskFull, HookFailed, HookUnavailable, Shortage, SourceChanged
from povwatch.core.hook_record import HookRun, HookState
from povwatch.core.job import JobState, Waiting
from povwatch.hooks.run import Outcome
from povwatch.hooks.stage import HookStage
from povwatch.journal import Journal
from povwatch.journal.store import JobStore

BAD = HookFailed("It exited with status 3.", "Mend it.")


class Bench:
    def __init__(self, journal):
        self.store = JobStore(journal, HandClock())
        self.failed = []
        self.stage = HookStage(
            Config(engine=Engine(attempts=2)),
            store=self.store,
            specs=None,
            staging=None,
            blockers=None,
            failed_attempts=self,
            wake=lambda: None,
        )
        (job,) = self.store.add([(b"a.mp4", b"sig")])
        for state in (JobState.GRACE, JobState.QUEUED):
            job = put(self.store, job, "waiting", state=state, source_hash="bytes")
        self.job_id = job.id

    def fail(self, job, error):
        self.failed.append((job.id, str(error)))

    @property
    def job(self):
        return self.store.job(self.job_id)

    def run(self, attempt=1, crashes=0):
        """A hook that runs, as the journal has it."""
        record = HookRun(self.job_id, "mano", HookState.RUNNING, attempt, crashes, source_hash="bytes")
        self.stage._keep(record)
        put(self.store, self.job, "hook-started", waiting_on=Waiting.HOOK, detail="The hook mano runs.")
        return record

    def publishing(self):
        for state in (JobState.RUNNING, JobState.CHECKING, JobState.PUBLISHING):
            put(self.store, self.job, "waiting", state=state)

    @property
    def record(self):
        """As a new start would find it."""
        return self.store.journal.hooks(self.job_id)["mano"]

    @property
    def waits(self):
        return self.job.waiting_on, self.job.not_before - self.store.clock.wall() if self.job.not_before else 0.0

    @property
    def events(self):
        return [event.event for event in self.store.journal.events(self.job_id)]


@pytest.fixture
def bench(tmp_path):
    with Journal.open(tmp_path) as journal:
        yield Bench(journal)


def hook(**settings):
    return Hook(**{"name": "mano", "when": "before", "argv": ["mano"]} | settings)


def test_done_hook_lets_the_job_go_on(bench):
    """A hook that is done lets the job go on, and is on record for its video."""
    bench.stage._done(bench.job, bench.run(), Outcome(seconds=4.0))
    assert (bench.record.state, bench.record.seconds, bench.record.attempts) == (HookState.DONE, 4.0, 1)
    assert bench.waits == (Waiting.TURN, 0.0)
    journal = bench.store.journal
    assert journal.hook_ran_for("mano", "bytes")
    assert not journal.hook_ran_for("mano", "others")
    assert not journal.hook_ran_for("other", "bytes")
    assert (journal.hook_last_of("mano", b"a.mp4"), journal.hook_last_of("mano", b"b.mp4")) == ("bytes", None)


def test_refusals_have_growing_pauses(bench):
    """What the machine refuses a hook is tried again with growing pauses, uncharged."""
    pauses = []
    for _ in range(7):
        bench.stage._failed(bench.job, hook(), bench.run(), Shortage("Too many open files.", "Raise its limit."))
        pauses.append(bench.waits[1])
    assert pauses == [2, 4, 8, 16, 32, 60, 60]
    assert bench.record.attempts == 0
    bench.stage._done(bench.job, bench.run(), Outcome(seconds=4.0))
    bench.stage._failed(bench.job, hook(), bench.run(), Shortage("Too many open files.", "Raise its limit."))
    assert bench.waits == (Waiting.PAUSED, 2)


def test_second_failure_fails_the_clip(bench):
    """A hook that fails is tried again after a pause, then the clip fails."""
    bench.stage._failed(bench.job, hook(), bench.run(), BAD)
    assert bench.stage._unable == {}
    assert (bench.record.state, bench.record.attempts, bench.record.error) == (HookState.WAITING, 1, str(BAD))
    assert bench.waits == (Waiting.RETRY_AT, 2.0)
    bench.stage._failed(bench.job, hook(), bench.run(attempt=2), BAD)
    assert bench.record.state is HookState.FAILED
    assert bench.failed == [(bench.job_id, "The hook mano failed: It exited with status 3. Mend it.")]


def test_continue_lets_the_clip_go_on(bench):
    """A failed hook that is to continue lets the clip go on."""
    bench.stage._failed(bench.job, hook(on_failure="continue"), bench.run(attempt=2), BAD)
    assert bench.failed == []
    assert bench.waits == (Waiting.TURN, 0.0)
    assert bench.events[-1] == "hook-failed"


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_after_a_clip_nothing_fails(bench, on_failure):
    """A failed hook after a clip does not fail it, and its sentence is kept."""
    after = hook(when="after", on_failure=on_failure)
    bench.publishing()
    bench.stage._failed(bench.job, after, bench.run(attempt=2), BAD)
    assert (bench.failed, bench.job.state, bench.job.waiting_on) == ([], JobState.PUBLISHING, None)
    bench.stage._hooks = [after]
    assert bench.stage.after(bench.job) == f"The hook mano failed: {BAD}"
    bench.stage._hooks = [hook()]
    assert bench.stage.after(bench.job) == ""


@pytest.mark.parametrize(
    ("error", "waiting", "pause"),
    [
        (DiskFull("No space.", "Free some."), Waiting.DISK_FULL, 30.0),
        (SourceChanged("It changed."), Waiting.SETTLING, 1.0),
    ],
)
def test_what_is_not_its_doing_is_free(bench, error, waiting, pause):
    """What is not the hook's doing charges nothing."""
    bench.stage._failed(bench.job, hook(), bench.run(attempt=2), error)
    assert bench.stage._unable == {}
    assert (bench.record.state, bench.record.attempts) == (HookState.WAITING, 1)
    assert bench.waits == (waiting, pause)


def test_missing_program_is_waited_for(bench):
    """Where its program is missing, clips wait for it, uncharged."""
    bench.stage._failed(bench.job, hook(), bench.run(attempt=2), HookUnavailable("mano is not there.", ""))
    until, why = bench.stage._unable["mano"]
    assert until == bench.store.clock.boot() + 30.0
    assert why == "The hook mano cannot be started: mano is not there."
    assert (bench.record.attempts, bench.waits) == (1, (Waiting.HOOK, 0.0))


def test_third_crash_ends_a_hook(bench):
    """A crash is counted apart from attempts, and the third ends the hook."""
    bench.stage._interrupted(bench.job, hook(), bench.run(crashes=1))
    assert (bench.record.state, bench.record.attempts, bench.record.crashes) == (HookState.WAITING, 0, 2)
    assert bench.waits == (Waiting.RETRY_AT, 4.0)
    bench.stage._interrupted(bench.job, hook(), bench.run(crashes=2))
    assert bench.record.state is HookState.FAILED
    ((_, why),) = bench.failed
    assert why.startswith("The hook mano failed: The daemon or the machine went down 3 times while this job ran.")


def test_removed_hook_is_settled(bench):
    """A hook that config.toml no longer has is settled all the same."""
    bench.stage._interrupted(bench.job, None, bench.run())
    assert bench.store.journal.hooks_interrupted() == []


def test_clip_back_in_its_grace(bench):
    """A clip that went back to its grace waits on that, whatever its hook does."""
    record = bench.run()
    put(bench.store, bench.job, "edited", state=JobState.GRACE, waiting_on=Waiting.EDITING, detail="open")
    bench.stage._done(bench.job, record, Outcome(seconds=1.0))
    assert (bench.job.state, bench.job.waiting_on, bench.job.detail) == (JobState.GRACE, Waiting.EDITING, "open")
    assert bench.record.state is HookState.DONE


def test_called_off_hook_has_not_begun(bench):
    """A hook that was called off is as if it had not begun."""
    record = dataclasses.replace(bench.run(), attempts=2)
    bench.stage._called_off(bench.job, record, "povwatch stops")
    assert (bench.record.state, bench.record.attempts) == (HookState.WAITING, 1)
    assert bench.events[-1] == "hook-off"
