"""Jobs in memory: the order of turns is what sorting all of them would give, after any changes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from povwatch.core.job import Job, JobState
from povwatch.journal.present import PresentJobs, turn

STATES = (JobState.GRACE, JobState.QUEUED, JobState.RUNNING, JobState.PUBLISHING)

JOBS = st.builds(
    Job,
    id=st.integers(1, 6),
    path=st.just(b"a.mp4"),
    base=st.just(b"a"),
    state=st.sampled_from(STATES),
    priority=st.integers(-1, 1),
    created_at=st.sampled_from((1.0, 2.0)),
    not_before=st.sampled_from((0.0, 5.0)),
)


@given(st.lists(st.one_of(JOBS, st.integers(1, 6))))
def test_always_as_if_sorted(steps):
    """Each step puts a job, or drops one by its number."""
    present, plain = PresentJobs([]), {}
    for step in steps:
        if isinstance(step, Job):
            present.put(step)
            plain[step.id] = step
        else:
            present.drop(step)
            plain.pop(step, None)
        assert present.by_id == plain
        for states in ((JobState.QUEUED,), (JobState.GRACE, JobState.RUNNING), STATES):
            expected = sorted((job for job in plain.values() if job.state in states), key=turn)
            assert present.in_state(*states) == expected
        queued = [job for job in plain.values() if job.state is JobState.QUEUED]
        assert sorted(present.postponed) == sorted(job.id for job in queued if job.not_before)


def test_queue_may_change_while_it_is_read():
    """Who leaves the queue meanwhile is left out, and who comes has its turn next time."""
    jobs = [Job(n, b"a", b"a", JobState.QUEUED, created_at=float(n)) for n in range(1, 5)]
    present = PresentJobs(jobs[:3])
    found = []
    for job in present.queued():
        found.append(job.id)
        if job.id == 1:
            present.put(replace(jobs[1], state=JobState.RUNNING))
            present.put(jobs[3])
    assert found == [1, 3]
    assert [job.id for job in present.queued()] == [1, 3, 4]
