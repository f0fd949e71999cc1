"""From a job and its history to a line; from a journal to a report."""

import json
from dataclasses import replace

import pytest
from support.put import advance

from povwatch.core.job import Job, JobState, Waiting
from povwatch.journal import Journal
from povwatch.journal.reader import Event
from povwatch.ops.report import words
from povwatch.ops.report.data import Picture, Report
from povwatch.ops.report.gather import gather, line_of
from povwatch.ops.report.save import FORMS

INFO = {"frames": 93, "rate": "30000/1001", "display_width": 1280, "display_height": 720, "duration": 3.1}
CHECKED = {"numbers": {"frames": 93, "rate": "30000/1001", "width": 1280, "height": 720, "duration": 3.1}}
GPU = {"name": "NVIDIA H200", "uuid": "GPU-1", "samples": 3, "peak_memory": 60_000, "energy": 500}


def event(at, what, state, **data):
    return Event(at, what, None, state, None, data)


def done(**piece):
    kept = {"seconds": {"prepare": 1.0, "generate": 50.0, "finish": 2.0, "check": 1.5}, "gpu": {}, "artifact": {}}
    job = Job(
        7,
        b"kitchen/a.mp4",
        b"a",
        JobState.DONE,
        attempts=1,
        engine="diffusers",
        source_hash="x",
        source_info=json.dumps(INFO),
        artifact=json.dumps(kept | piece),
        output="kitchen/a/a_aug.mp4",
        created_at=0,
    )
    events = [
        event(0, "seen", "arriving"),
        event(5, "arrived", "grace"),
        event(10, "queued", "queued"),
        event(30, "started", "running"),
        event(81, "generated", "checking"),
        event(85, "checked", "publishing", **CHECKED),
        event(85.5, "done", "done"),
    ]
    return job, events


def test_clip_that_came_out_on_a_gpu():
    """A line has the seconds, waits, GPU figures and pictures of a job."""
    line = line_of(*done(gpu=GPU, artifact={"peak_memory": 61_000}), 1000)
    assert line.seconds == {"prepare": 1.0, "generate": 50.0, "finish": 2.0, "check": 1.5, "publish": 0.5}
    assert line.took == 55.0
    assert (line.arriving, line.grace, line.queued, line.started_at, line.ended_at) == (5, 5, 20, 30, 85.5)
    assert (line.gpu, line.gpu_seconds, line.energy, line.peak_memory) == ("NVIDIA H200", 50.0, 500, 61_000)
    assert line.source == line.result == Picture(93, 30000 / 1001, 1280, 720, 3.1)
    assert (line.problem, line.todo, line.ended_badly) == ("", "", False)


def test_unmeasured_is_none_never_nought():
    """What was not measured is None, never 0."""
    line = line_of(*done(), 1000)
    assert (line.gpu, line.gpu_seconds, line.energy, line.peak_memory) == (None, None, None, None)
    assert "lost" not in line.seconds
    waiting = line_of(Job(1, b"a.mp4", b"a", JobState.ARRIVING), [event(0, "seen", "arriving")], 9)
    assert (waiting.took, waiting.grace, waiting.queued, waiting.started_at) == (None, None, None, None)
    assert waiting.result == waiting.source == Picture()


def test_every_gpu_and_lost_attempt_counts():
    """Several GPUs count each, and lost attempts count, too."""
    job, events = done(gpu=GPU | {"uuid": "GPU-1, GPU-2"})
    events[4:4] = [
        event(50, "gpu-use", "running", **GPU, seconds=15.0),
        event(50, "retry", "queued"),
        event(60, "started", "running"),
    ]
    line = line_of(job, events, 1000)
    assert line.gpu_seconds == 2 * 50 + 15
    assert line.energy == 1000
    assert line.seconds["lost"] == 20


def test_hooks_are_a_stage_of_their_own():
    """Hooks are a stage, neither a wait nor publishing."""
    job, events = done()
    events[3:3] = [event(12, "hook-started", "queued"), event(20, "hook-done", "queued", seconds=7.5)]
    events[-1:] = [
        event(85.5, "hook-started", "publishing"),
        event(95, "hook-done", "publishing", seconds=9.0),
        event(95, "done", "done"),
    ]
    line = line_of(job, events, 1000)
    assert (line.seconds["hooks"], line.queued, line.seconds["publish"]) == (16.5, 12.5, 0.5)
    assert "hooks" not in line_of(*done(), 1000).seconds


def test_clip_that_came_out_with_a_flaw():
    """What is to be known of a clip that came out is in every form of the report."""
    job, events = done()
    line = line_of(replace(job, error="The hook upload failed."), events, 1000)
    assert (line.problem, line.todo, line.ended_badly, line.flawed) == ("The hook upload failed.", "", False, True)
    assert words.headline(Report([line], 0, "0")) == "The clip came out, 1 with something to check."
    for form in FORMS.values():
        assert "The hook upload failed" in form(Report([line], 0, "0")).replace("\\", "")
    assert not line_of(replace(job, detail="the same was published before"), events, 1000).flawed


@pytest.mark.parametrize(
    ("job", "problem", "todo"),
    [
        (Job(1, b"a b.mp4", b"a b", JobState.FAILED, error="It broke."), "It broke.", "povwatch retry 'a b.mp4'"),
        (Job(1, b"-a.mp4", b"-a", JobState.FAILED, error="It\x1b[2J\nbroke."), "\\x1b[2J\\nbroke", "retry -- -a.mp4"),
        (Job(1, b"k/a.mp4", b"a", JobState.BLOCKED, error="No."), "No.", "Change the prompt in k/a.json"),
        (Job(1, b"a.mp4", b"a", JobState.REJECTED, error="No video. Delete it."), "No video. Delete it.", ""),
        (
            Job(1, b"a.mp4", b"a", JobState.GRACE, waiting_on=Waiting.HELD, detail="you said so"),
            "waits on held: you",
            "povwatch go a.mp4",
        ),
        (Job(1, b"a.mp4", b"a", JobState.QUEUED, waiting_on=Waiting.TURN), "waits on turn", ""),
    ],
)
def test_problem_and_what_to_do(job, problem, todo):
    """Every state that needs somebody has its problem, and what to do."""
    line = line_of(job, [event(0, "seen", "arriving")], 9)
    assert problem in line.problem
    assert todo in line.todo
    assert bool(todo) == bool(line.todo)
    assert (line.problem + line.todo).isprintable()


@pytest.fixture
def journal(tmp_path):
    with Journal.open(tmp_path / "state") as journal:
        yield journal


def ended(journal, job, at, state):
    return advance(journal, job, str(state), at, state=state, error="why" if state is not JobState.CANCELLED else None)


def test_retried_clip_is_not_told_as_lost(journal):
    (a, b) = journal.add([(b"a.mp4", b"1"), (b"b.mp4", b"1")], 100)
    ended(journal, a, 110, JobState.FAILED)
    ended(journal, b, 110, JobState.FAILED)
    journal.add([(b"a.mp4", b"1")], 120)
    report = gather(journal, 200)
    assert [line.clip for line in report.ended_badly] == ["b.mp4"]
    assert [(line.clip, line.again) for line in report.lines if line.again] == [("a.mp4", 3)]
    assert [line.job for line in report.open] == [3]


def test_only_what_is_asked_for(journal):
    """A report has the jobs since a time, or those that are named."""
    jobs = journal.add([(b"%d.mp4" % n, b"1") for n in range(4)], 100)
    ended(journal, jobs[0], 110, JobState.FAILED)
    ended(journal, jobs[1], 150, JobState.FAILED)
    assert [line.clip for line in gather(journal, 200, since=140).lines] == ["1.mp4", "2.mp4", "3.mp4"]
    journal.save_signatures(jobs[0].id, source_stat=b"2")  # looked at since: that is no end
    assert [line.clip for line in gather(journal, 200, since=140).lines] == ["1.mp4", "2.mp4", "3.mp4"]
    assert [line.clip for line in gather(journal, 200, only={1, 3}).lines] == ["0.mp4", "2.mp4"]
    empty = gather(journal, 200, only=set())
    assert (empty.lines, empty.wall, empty.seconds, empty.an_hour) == ([], None, {}, None)
