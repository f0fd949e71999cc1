"""What a daemon knows about times when it starts, and what a job adds to it."""

from __future__ import annotations

import pytest

from povwatch.attempt.attempt import Attempt
from povwatch.journal import Journal
from povwatch.run.estimates import RuntimeEstimates

INFO = {"frames": 93, "display_width": 1280, "display_height": 704}


def expected(estimates, gpu="X", frames=93):
    return estimates.expected(INFO | {"frames": frames}, {"num_steps": 35}, gpu)


def attempt(frames: int = 93, **artifact) -> Attempt:
    return Attempt("", INFO | {"frames": frames}, {"num_steps": 35}, artifact=artifact)


@pytest.fixture
def journal(tmp_path):
    with Journal.open(tmp_path) as journal:
        yield journal


def test_job_teaches_over_a_restart(journal):
    """What one job took is known after a restart, for that engine and GPU."""
    estimates = RuntimeEstimates(journal, "diffusers")
    assert expected(estimates) is None
    learned = estimates.learn(attempt(), "X", 300.0)
    assert expected(estimates, frames=185) == pytest.approx(600)
    (job,) = journal.add([(b"a.mp4", b"sig")], 0.0)
    journal.note(job, "generated", 1.0, {"took": "5m", "learned": learned})
    journal.note(job, "generated", 2.0, {"took": "of a journal from before"})
    again = RuntimeEstimates(journal, "diffusers")
    assert expected(again) == pytest.approx(300)
    assert expected(again, "Y") is None
    assert expected(RuntimeEstimates(journal, "cosmos")) is None


def test_each_speed_has_its_own_times(journal):
    """A fast job says nothing about exact ones, also over a restart; an engine with one speed does not ask."""
    estimates = RuntimeEstimates(journal, "diffusers")
    fast = attempt()
    fast.speed = "fast"
    learned = estimates.learn(fast, "X", 120.0)
    (job,) = journal.add([(b"a.mp4", b"sig")], 0.0)
    journal.note(job, "generated", 1.0, {"learned": learned})
    for known in (estimates, RuntimeEstimates(journal, "diffusers")):
        assert expected(known) is None
        assert known.expected(INFO, {"num_steps": 35}, "X", "fast") == pytest.approx(120)
    upstream = RuntimeEstimates(journal, "cosmos")
    upstream.learn(fast, "X", 300.0)
    assert expected(upstream) == pytest.approx(300)


def test_resumed_job_teaches_nothing(journal):
    """A job that went on in the middle teaches nothing."""
    estimates = RuntimeEstimates(journal, "diffusers")
    assert estimates.learn(attempt(chunks_resumed=2), "X", 10.0) is None
    assert expected(estimates) is None
    assert estimates.learn(attempt(chunks_resumed=0), "X", 10.0) is not None
