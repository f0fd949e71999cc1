"""What a change makes of a job: the fields that it names, and no others."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from povwatch.core import changes
from povwatch.core.changes import Change
from povwatch.core.job import Job, JobState, Waiting

KINDS = [kind for kind in vars(changes).values() if isinstance(kind, type) and issubclass(kind, Change)]
OF_JOB = {field.name: set(str(field.type).split(" | ")) for field in fields(Job)}
JOB = Job(
    *(1, b"a.mp4", b"a", JobState.RUNNING, Waiting.HOOK, "a hook runs"),
    run_id="run",
    attempts=2,
    artifact="made",
    promise="promised",
    go=True,
)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Change])
def test_job_field_keeps_its_type(kind):
    """A field that is set in the job by its name has that field's type: another meaning would need another type."""
    mine = {field.name: set(str(field.type).split(" | ")) for field in fields(kind)}
    assert {name for name, types in mine.items() if not types <= OF_JOB.get(name, types)} == set()
    assert kind.sets.keys() <= OF_JOB.keys()


def test_identity_of_a_job_never_changes():
    """No change sets what a job is told by: its number, its clip, its base."""
    named = {field.name for kind in KINDS if kind is not Change for field in fields(kind)}
    assert not (named | {name for kind in KINDS for name in kind.sets}) & {"id", "path", "base", "created_at"}


def test_end_of_an_attempt_clears_its_fields():
    """A job that fails, is cancelled or goes back to the queue keeps nothing of its attempt."""
    back = {"fields": {}, "waiting": None, "detail": "", "not_before": 5.0, "attempts": 1, "crashes": 0}
    for change in (
        changes.Failed(error="e"),
        changes.Blocked(error="e"),
        changes.Cancelled(why="w", source_stat=None),
        changes.Requeued(event_name="retry", **back),
        changes.ArrivesAgain(problem="p"),
    ):
        after = change.applied_to(JOB)
        assert (after.run_id, after.artifact, after.promise) == (None, None, None), change


def test_kept_artifact_stays():
    """A job that is given up after generation keeps its artifact and its run."""
    after = changes.FailedKept(error="e", artifact="made", promise=None, crashes=1).applied_to(JOB)
    assert (after.state, after.run_id, after.artifact, after.error) == (JobState.FAILED, "run", "made", "e")


def test_unnamed_field_stays():
    """A change leaves alone what it does not speak of."""
    assert changes.Go().applied_to(replace(JOB, go=False, hold=True)) == replace(JOB, go=True, hold=False)
