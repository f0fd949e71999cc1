import pytest

from povwatch.core import errors
from povwatch.core.job import Waiting
from povwatch.core.retry import BACKOFF_MAX, Action, after_crash, after_loss, backoff, clamped, decide

NOW = 1000.0

CHARGED = [errors.WorkerDied, errors.WorkerStalled, errors.CheckFailed, errors.AttemptFailed, errors.JournalError]


def every_error(root=errors.PovwatchError):
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from every_error(child)


@pytest.mark.parametrize("error", CHARGED)
@pytest.mark.parametrize(
    ("attempts", "action", "pause"), [(1, Action.RETRY, 2), (2, Action.RETRY, 4), (3, Action.FAIL, 0)]
)
def test_failed_attempt_is_charged(error, attempts, action, pause):
    """A failed attempt is charged and repeated, up to the limit."""
    decision = decide(error("It broke."), attempts=attempts, limit=3, now=NOW)
    assert (decision.action, decision.at) == (action, NOW + pause)
    assert decision.waiting == (Waiting.RETRY_AT if action is Action.RETRY else None)
    assert decision.reason.startswith("It broke.")
    assert str(attempts) in decision.reason


@pytest.mark.parametrize(
    ("error", "waiting"),
    [
        (errors.DiskFull, Waiting.DISK_FULL),
        (errors.GpuBusy, Waiting.GPU_BUSY),
        (errors.GpuLost, Waiting.GPU_LOST),
        (errors.SourceChanged, Waiting.SETTLING),
        (errors.EnvironmentFault, Waiting.PAUSED),
        (errors.MachineError, Waiting.ENGINE_UNAVAILABLE),
        (errors.SpecInvalid, Waiting.INVALID_SPEC),
    ],
)
@pytest.mark.parametrize("attempts", [1, 3, 99])
def test_faults_of_others_are_not_charged(error, waiting, attempts):
    """What is not the job's doing gives the attempt back, however often."""
    decision = decide(error("Not now."), attempts=attempts, limit=3, now=NOW)
    assert (decision.action, decision.waiting) == (Action.RELEASE, waiting)
    assert decision.at >= NOW


@pytest.mark.parametrize("error", [errors.DiskFull, errors.GpuBusy, errors.GpuLost, errors.EnvironmentFault])
def test_environment_fault_pauses(error):
    assert decide(error("Not now."), attempts=1, limit=3, now=NOW).at > NOW


@pytest.mark.parametrize(
    ("error", "action"),
    [(errors.NotAVideo, Action.REJECT), (errors.Blocked, Action.BLOCK), (errors.JobFailed, Action.FAIL)],
)
def test_permanent_error_ends_at_once(error, action):
    """What cannot get better ends the job at its first attempt."""
    decision = decide(error("No."), attempts=1, limit=3, now=NOW)
    assert (decision.action, decision.at, decision.waiting) == (action, NOW, None)


@pytest.mark.parametrize(
    ("attempts", "limit", "action"),
    [(1, 3, Action.RETRY), (2, 3, Action.FAIL), (2, 9, Action.FAIL), (1, 1, Action.FAIL)],
)
def test_out_of_memory_is_tried_once_more(attempts, limit, action):
    assert decide(errors.OutOfMemory("Too large."), attempts=attempts, limit=limit, now=NOW).action is action


@pytest.mark.parametrize("error", sorted(set(every_error()), key=lambda error: error.__name__))
def test_every_error_ends_or_waits(error):
    """Every error ends a job, uses up its attempts, or waits for a reason."""
    decision = decide(error("What.", "Todo."), attempts=10**6, limit=3, now=NOW)
    assert "What. Todo." in decision.reason
    if decision.action is Action.RELEASE:
        assert decision.waiting is not None
    else:
        assert decision.action in (Action.FAIL, Action.BLOCK, Action.REJECT)


@pytest.mark.parametrize("error", sorted(set(every_error()), key=lambda error: error.__name__))
def test_type_says_what_happens(error):
    """The class of an error alone says whether a job waits, ends or is repeated."""
    decision = decide(error("What."), attempts=1, limit=3, now=NOW)
    waits = issubclass(error, (errors.EnvironmentFault, errors.SpecInvalid, errors.MachineError))
    ends = issubclass(error, errors.Permanent)
    expected = Action.RELEASE if waits else decision.action if ends else Action.RETRY
    assert decision.action is expected
    assert (decision.action in (Action.FAIL, Action.BLOCK, Action.REJECT)) == ends


@pytest.mark.parametrize(
    ("crashes", "action", "pause"),
    [(1, Action.RETRY, 2), (2, Action.RETRY, 4), (3, Action.FAIL, 0), (4, Action.FAIL, 0)],
)
def test_third_crash_fails(crashes, action, pause):
    decision = after_crash(crashes, NOW)
    assert (decision.action, decision.at) == (action, NOW + pause)


@pytest.mark.parametrize(
    ("crashes", "action", "pause"), [(1, Action.RETRY, 2), (2, Action.RETRY, 4), (3, Action.FAIL, 0)]
)
def test_third_lost_worker_fails(crashes, action, pause):
    """A worker that died on another machine counts as a crash, and its words are told."""
    decision = after_loss(errors.RemoteWorkerDied("Worker 3 on node gpu-02 is gone."), crashes, NOW)
    assert (decision.action, decision.at) == (action, NOW + pause)
    if action is Action.RETRY:
        assert decision.reason == f"Worker 3 on node gpu-02 is gone. That counts as a crash, {crashes} of 3."


def test_pauses_double_up_to_a_minute():
    assert [backoff(times) for times in (1, 2, 3, 4, 5, 6, 7, 10**9)] == [2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize(
    ("written", "counts"),
    [
        (0.0, 0.0),
        (NOW - 5, NOW - 5),
        (NOW + 2, NOW + 2),
        (NOW + BACKOFF_MAX, NOW + BACKOFF_MAX),
        (NOW + BACKOFF_MAX + 3, NOW + BACKOFF_MAX + 3),
        (NOW + BACKOFF_MAX + 6, NOW + BACKOFF_MAX),
        (NOW + 86400, NOW + BACKOFF_MAX),
    ],
)
def test_clock_set_back_prolongs_no_pause(written, counts):
    """A clock that was set back makes no pause longer."""
    assert clamped(written, NOW) == counts


def test_no_pause_looks_like_a_set_clock():
    """No pause is so long that it is taken for a clock that was set back."""
    for error in (errors.DiskFull("."), errors.EnvironmentFault("."), errors.WorkerDied(".")):
        at = decide(error, attempts=90, limit=99, now=NOW).at
        assert clamped(at, NOW) == at
