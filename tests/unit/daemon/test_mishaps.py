"""What people read of an exception in a job's step, and who pays for it."""

from __future__ import annotations

import pytest
from support.built import Built

from povwatch.core import unforeseen
from povwatch.core.background import JobWork
from povwatch.core.job import JobState


@pytest.fixture
def here(tmp_path, monkeypatch):
    built = Built(tmp_path)
    (built.inputs / "a.mp4").write_bytes(b"")
    (built.job,) = built.app.store.add([(b"a.mp4", b"")])
    built.where = []
    with monkeypatch.context() as patch:
        patch.setattr(unforeseen, "say", lambda _, **fields: built.where.append(fields["where"]))
        yield built
    built.close()


def test_step_names_its_job(here):
    here.app.mishaps.charge(here.job.id, "claimed", ValueError("a bug"))
    here.app.mishaps.work_failed(JobWork(here.job.id, "finished"), ValueError("a bug"))
    assert here.where == [f"while it claimed job {here.job.id}", f"while it finished job {here.job.id}"]


def test_work_of_no_job_costs_none(here):
    here.app.mishaps.work_failed("clean", ValueError("a bug"))
    assert here.where == ["while it handled the result of the work 'clean'"]
    assert here.app.store.job(here.job.id).state is JobState.ARRIVING


def test_giving_up_is_repeated(here, monkeypatch):
    """If giving up fails too, it is tried again after a pause, and people read what it was."""
    mishaps, give_up = here.app.mishaps, here.app.arrival.give_up
    for _ in range(2):
        mishaps.charge(here.job.id, "claimed", ValueError("a bug"))
    with monkeypatch.context() as patch:
        patch.setattr(here.app.arrival, "give_up", lambda *_: 1 / 0)
        mishaps.charge(here.job.id, "claimed", ValueError("a bug"))
    assert here.where[-1] == f"while it released or gave up job {here.job.id}"
    assert here.app.arrival.give_up == give_up
    here.clock.now = mishaps.next_deadline()
    mishaps.tick(here.clock.now)
    assert here.app.store.job(here.job.id).state is JobState.FAILED
