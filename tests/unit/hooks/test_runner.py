"""What follows for a job when one of its hooks has ended: the daemon as production builds it, hooks that only end."""

from __future__ import annotations

import queue
import time

import pytest
from support.built import PATIENCE
from support.clip_in_grace import ClipInGrace, inspected
from support.put import put

from povwatch.attempt.attempt import Attempt
from povwatch.config.hooks import Hook
from povwatch.core.errors import DiskFull, HookFailed, HookUnavailable, Shortage, SourceChanged
from povwatch.core.hook_record import HookRecord, HookState
from povwatch.core.job import JobState, Waiting
from povwatch.hooks import runner
from povwatch.hooks.run import Outcome
from povwatch.publish import Sealed
from povwatch.publish.promise import Entry

BAD = HookFailed("It exited with status 3.", "Mend it.")
REFUSED = Shortage("Too many open files.", "Raise its limit.")
DONE = Outcome(seconds=4.0)

ENDS = queue.SimpleQueue()
"""How the runs under way end."""


def hook(**settings):
    return Hook(**{"name": "mano", "when": "before", "argv": ["mano"]} | settings)


def perform(cancelled, *_):
    """Run until the test says how it ends, or until it is no longer wanted."""
    while not cancelled.is_set():
        try:
            end = ENDS.get(timeout=0.01)
        except queue.Empty:
            continue
        if isinstance(end, Exception):
            raise end
        return end
    return Outcome(called_off=True)


class Hooked(ClipInGrace):
    """A queued clip that has a hook, and possibly more."""

    def __init__(self, folder, info, *more, **settings):
        super().__init__(folder, info, hooks=(hook(**settings), *more), attempts=2)
        self.admit()
        self.until(self.clock.now + 121)

    def begin(self):
        """Let the hook begin, once all pauses are over."""
        pauses = [self.job.not_before - self.clock.wall(), *(until - self.clock.now for until in self.unable.values())]
        self.clock.now += max(0.0, *pauses)
        self.turn()
        assert self.record.state is HookState.RUNNING

    def end(self, end):
        """Let the run under way end."""
        if isinstance(end, Exception | Outcome):
            ENDS.put(end)
        deadline = time.monotonic() + PATIENCE
        while not self.hooks.idle:
            assert time.monotonic() < deadline
            time.sleep(0.001)
            self.turn()

    def ran(self, end):
        self.begin()
        self.end(end)

    def turn(self):
        self.hooks.tick(self.clock.now)
        self.no_bug()

    def killed(self, crashes):
        """Start anew after a kill while the hook ran, which had happened before."""
        found = HookRecord(self.job.id, "mano", HookState.RUNNING, 1, crashes, source_hash=self.job.source_hash)
        self.app.journal.set_hook(found)
        self.restart()
        self.hooks.recover()
        self.no_bug()

    def publishing(self):
        """Have the clip generated, and its result visible."""
        spec = self.grace.spec_of(self.job).model_dump(mode="json", by_alias=True)
        promise = Sealed(self.job.id, "run", 1, (Entry(b"staged.mp4", b"a_aug.mp4", 1, "0"),))
        kept = {"run_id": "run", "artifact": Attempt("", {}, spec).to_json(), "promise": promise.to_json()}
        for state in (JobState.RUNNING, JobState.CHECKING, JobState.PUBLISHING):
            put(self.store, self.job, "waiting", state=state, waiting_on=None, **kept)

    @property
    def hooks(self):
        return self.app.hooks

    @property
    def unable(self):
        """Until when hooks cannot be started."""
        return {name: until for name, (until, _) in self.hooks._unable.items()}

    @property
    def record(self):
        """As a new start would find it."""
        return self.app.journal.hooks(self.job.id)["mano"]

    @property
    def waits(self):
        left = self.job.not_before - self.clock.wall()
        return self.job.waiting_on, left if self.job.not_before else 0.0

    @property
    def events(self):
        return [event.event for event in self.app.journal.events(self.job.id)]


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    return inspected(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def hooked(tmp_path, info, monkeypatch):
    """Makes the clip, with further hooks and with settings of its own."""
    monkeypatch.setattr(runner, "perform", perform)
    made = []

    def make(*more, **settings):
        made.append(Hooked(tmp_path, info, *more, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()
        one.no_bug()
    assert ENDS.empty()


@pytest.fixture
def clip(hooked):
    return hooked()


def test_done_hook_lets_the_job_go_on(clip):
    """A hook that is done lets the job go on, and is on record for its video."""
    assert not clip.hooks.ready(clip.job)
    clip.ran(DONE)
    assert (clip.record.state, clip.record.seconds, clip.record.attempts) == (HookState.DONE, 4.0, 1)
    assert clip.waits == (Waiting.TURN, 0.0)
    assert clip.hooks.ready(clip.job)
    journal, video = clip.app.journal, clip.job.source_hash
    assert journal.hook_ran_for("mano", video)
    assert not journal.hook_ran_for("mano", "others")
    assert not journal.hook_ran_for("other", video)
    assert (journal.hook_last_of("mano", b"a.mp4"), journal.hook_last_of("mano", b"b.mp4")) == (video, None)


def test_refusals_have_growing_pauses(clip):
    """What the machine refuses a hook is tried again with growing pauses, uncharged."""
    pauses = []
    for _ in range(7):
        clip.ran(REFUSED)
        pauses.append(clip.waits[1])
    assert pauses == [2, 4, 8, 16, 32, 60, 60]
    assert clip.record.attempts == 0


def test_failure_ends_the_growth(clip):
    """A refusal after a failure has the first pause again."""
    for end in (REFUSED, REFUSED, BAD, REFUSED):
        clip.ran(end)
    assert clip.waits == (Waiting.PAUSED, 2)


def test_done_hook_ends_the_growth(hooked):
    """A refusal of the next hook has the first pause again."""
    clip = hooked(hook(name="next"))
    clip.ran(REFUSED)
    clip.ran(REFUSED)
    clip.begin()
    ENDS.put(DONE)
    clip.end(REFUSED)  # the next hook's, which begins in the same turn
    assert clip.record.state is HookState.DONE
    assert clip.waits == (Waiting.PAUSED, 2)


def test_second_failure_fails_the_clip(clip):
    """A hook that fails is tried again after a pause, then the clip fails."""
    clip.ran(BAD)
    assert clip.unable == {}
    assert (clip.record.state, clip.record.attempts, clip.record.error) == (HookState.WAITING, 1, str(BAD))
    assert clip.waits == (Waiting.RETRY_AT, 2.0)
    clip.ran(BAD)
    assert clip.record.state is HookState.FAILED
    failure = "The hook mano failed: It exited with status 3. Mend it."
    assert (clip.job.state, clip.job.error) == (JobState.FAILED, failure)
    assert "The hook mano failed: It exited with status 3." in clip.error.read_text()


def test_continue_lets_the_clip_go_on(hooked):
    """A failed hook that is to continue lets the clip go on."""
    clip = hooked(on_failure="continue")
    clip.ran(BAD)
    clip.ran(BAD)
    assert clip.record.state is HookState.FAILED
    assert (clip.job.state, *clip.waits) == (JobState.QUEUED, Waiting.TURN, 0.0)
    assert clip.hooks.ready(clip.job)
    assert clip.events[-1] == "hook-failed"


@pytest.mark.parametrize("on_failure", ["stop", "continue"])
def test_after_a_clip_nothing_fails(hooked, on_failure):
    """A failed hook after a clip does not fail it, and its sentence is kept."""
    clip = hooked(when="after", on_failure=on_failure)
    assert clip.hooks.ready(clip.job)
    clip.publishing()
    clip.hooks.start_after_hooks(clip.job)
    assert clip.hooks.after_hooks_failures(clip.job) is None
    clip.ran(BAD)
    assert clip.hooks.after_hooks_failures(clip.job) is None
    clip.ran(BAD)
    assert (clip.job.state, clip.job.waiting_on) == (JobState.PUBLISHING, None)
    assert clip.hooks.after_hooks_failures(clip.job) == f"The hook mano failed: {BAD}"


def test_no_hook_after_a_clip_says_nothing(clip):
    """A clip without hooks after it has no failure of theirs to tell."""
    clip.ran(DONE)
    clip.publishing()
    clip.hooks.start_after_hooks(clip.job)
    assert clip.hooks.after_hooks_failures(clip.job) == ""


@pytest.mark.parametrize(
    ("error", "waiting", "pause"),
    [
        (DiskFull("No space.", "Free some."), Waiting.DISK_FULL, 30.0),
        (SourceChanged("It changed."), Waiting.SETTLING, 1.0),
    ],
)
def test_what_is_not_its_doing_is_free(clip, error, waiting, pause):
    """What is not the hook's doing charges nothing."""
    clip.ran(BAD)
    clip.ran(error)
    assert clip.unable == {}
    assert (clip.record.state, clip.record.attempts) == (HookState.WAITING, 1)
    assert clip.waits == (waiting, pause)


def test_missing_program_is_waited_for(clip):
    """Where its program is missing, clips wait for it, uncharged."""
    clip.ran(BAD)
    clip.ran(HookUnavailable("mano is not there.", ""))
    assert clip.unable == {"mano": clip.clock.now + 30.0}
    assert clip.hooks.stuck(clip.job)
    assert clip.job.detail == "The hook mano cannot be started: mano is not there."
    assert (clip.record.attempts, clip.waits[0]) == (1, Waiting.HOOK)
    clip.ran(DONE)
    assert clip.hooks.ready(clip.job)


def test_third_crash_ends_a_hook(clip):
    """A crash is counted apart from attempts, and the third ends the hook."""
    clip.killed(crashes=1)
    assert (clip.record.state, clip.record.attempts, clip.record.crashes) == (HookState.WAITING, 0, 2)
    assert clip.waits == (Waiting.RETRY_AT, 4.0)
    clip.killed(crashes=2)
    assert (clip.record.state, clip.job.state) == (HookState.FAILED, JobState.FAILED)
    why = "The hook mano failed: The daemon or the machine went down 3 times while this job ran."
    assert clip.job.error.startswith(why)


def test_removed_hook_is_settled(clip):
    """A hook that config.toml no longer has is settled all the same."""
    clip.config = clip.config.model_copy(update={"hooks": ()})
    clip.killed(crashes=0)
    assert clip.app.journal.hooks_interrupted() == []
    assert clip.hooks.ready(clip.job)


def test_clip_back_in_its_grace(clip):
    """A clip that went back to its grace waits on that, whatever its hook does."""
    clip.begin()
    put(clip.store, clip.job, "edited", state=JobState.GRACE, waiting_on=Waiting.EDITING, detail="open")
    clip.end(DONE)
    assert (clip.job.state, clip.job.waiting_on, clip.job.detail) == (JobState.GRACE, Waiting.EDITING, "open")
    assert clip.record.state is HookState.DONE


def test_spec_hook_is_called_off_for_an_edit(hooked):
    """A hook that is told the JSON is called off once its clip is back in its grace, as if it had not begun."""
    clip = hooked(argv=["mano", "{spec}"])
    clip.ran(BAD)
    clip.begin()
    put(clip.store, clip.job, "edited", state=JobState.GRACE, waiting_on=Waiting.EDITING, detail="open")
    clip.end(None)
    assert (clip.record.state, clip.record.attempts) == (HookState.WAITING, 1)
    assert clip.events[-1] == "hook-off"


def test_stop_calls_a_hook_off(clip):
    """A hook that povwatch's own end calls off is as if it had not begun."""
    clip.ran(BAD)
    clip.begin()
    clip.hooks.close()
    assert (clip.record.state, clip.record.attempts) == (HookState.WAITING, 1)
    assert clip.events[-1] == "hook-off"
