import pytest

from povwatch.core import errors
from povwatch.core.job import Waiting
from povwatch.core.retry import BACKOFF_MAX, Kind, after_crash, backoff, clamped, decide

NOW = 1000.0

CHARGED = [errors.WorkerDied, errors.WorkerStalled, errors.CheckFailed, errors.AttemptFailed, errors.JournalError]


def every_error(root=errors.PovwatchError):
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from every_error(child)


@pytest.mark.parametrize("error", CHARGED)
@pytest.mark.parametrize(("attempts", "kind", "pause"), [(1, Kind.RETRY, 2), (2, Kind.RETRY, 4), (3, Kind.FAIL, 0)])
def test_a_failed_attempt_is_charged_until_the_limit(error, attempts, kind, pause):
    decision = decide(error("It broke."), attempts=attempts, limit=3, now=NOW)
    assert (decision.kind, decision.at) == (kind, NOW + pause)
    assert decision.waiting == (Waiting.RETRY_AT if kind is Kind.RETRY else None)
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
def test_what_is_not_the_jobs_doing_gives_the_attempt_back_however_often(error, waiting, attempts):
    decision = decide(error("Not now."), attempts=attempts, limit=3, now=NOW)
    assert (decision.kind, decision.waiting) == (Kind.RELEASE, waiting)
    assert decision.at >= NOW


@pytest.mark.parametrize("error", [errors.DiskFull, errors.GpuBusy, errors.GpuLost, errors.EnvironmentFault])
def test_a_fault_of_the_environment_pauses(error):
    assert decide(error("Not now."), attempts=1, limit=3, now=NOW).at > NOW


@pytest.mark.parametrize(
    ("error", "kind"),
    [(errors.NotAVideo, Kind.REJECT), (errors.Blocked, Kind.BLOCK), (errors.JobFailed, Kind.FAIL)],
)
def test_what_cannot_get_better_ends_at_the_first_attempt(error, kind):
    decision = decide(error("No."), attempts=1, limit=3, now=NOW)
    assert (decision.kind, decision.at, decision.waiting) == (kind, NOW, None)


@pytest.mark.parametrize(
    ("attempts", "limit", "kind"),
    [(1, 3, Kind.RETRY), (2, 3, Kind.FAIL), (2, 9, Kind.FAIL), (1, 1, Kind.FAIL)],
)
def test_out_of_memory_is_tried_once_more(attempts, limit, kind):
    assert decide(errors.OutOfMemory("Too large."), attempts=attempts, limit=limit, now=NOW).kind is kind


@pytest.mark.parametrize("error", sorted(set(every_error()), key=lambda error: error.__name__))
def test_every_error_ends_or_uses_up_its_attempts_or_waits_for_a_reason(error):
    decision = decide(error("What.", "Todo."), attempts=10**6, limit=3, now=NOW)
    assert "What. Todo." in decision.reason
    if decision.kind is Kind.RELEASE:
        assert decision.waiting is not None
    else:
        assert decision.kind in (Kind.FAIL, Kind.BLOCK, Kind.REJECT)


@pytest.mark.parametrize("error", sorted(set(every_error()), key=lambda error: error.__name__))
def test_the_type_says_what_happens(error):
    decision = decide(error("What."), attempts=1, limit=3, now=NOW)
    waits = issubclass(error, (errors.EnvironmentFault, errors.SpecInvalid, errors.MachineError))
    ends = issubclass(error, errors.Permanent)
    expected = Kind.RELEASE if waits else decision.kind if ends else Kind.RETRY
    assert decision.kind is expected
    assert (decision.kind in (Kind.FAIL, Kind.BLOCK, Kind.REJECT)) == ends


@pytest.mark.parametrize(
    ("crashes", "kind", "pause"), [(1, Kind.RETRY, 2), (2, Kind.RETRY, 4), (3, Kind.FAIL, 0), (4, Kind.FAIL, 0)]
)
def test_a_job_that_is_there_at_three_crashes_fails(crashes, kind, pause):
    decision = after_crash(crashes, NOW)
    assert (decision.kind, decision.at) == (kind, NOW + pause)


def test_the_pauses_double_up_to_a_minute():
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
def test_a_clock_that_was_set_back_makes_no_pause_longer(written, counts):
    assert clamped(written, NOW) == counts


def test_no_pause_is_so_long_that_it_is_taken_for_a_clock_set_back():
    for error in (errors.DiskFull("."), errors.EnvironmentFault("."), errors.WorkerDied(".")):
        at = decide(error, attempts=90, limit=99, now=NOW).at
        assert clamped(at, NOW) == at
