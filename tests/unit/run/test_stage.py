"""The run stage: how a claimed job reaches its worker, and how its progress is told."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs
from support.built import Built
from support.put import put
from support.supervising import FakeProcess

from povwatch.attempt.attempt import Attempt
from povwatch.core.errors import NotAVideo, Shortage
from povwatch.core.job import JobState
from povwatch.media.info import Prepared
from povwatch.process import protocol
from povwatch.run import preparing
from povwatch.run.stage import note_progress
from povwatch.spec.parse import parse

SPEC = b'{"name": "a", "video_path": "a.mp4", "prompt": "hands", "edge": {}}'
INFO = '{"frames": 3, "display_width": 4, "display_height": 2}'


class Bench:
    """The daemon that production builds, with one queued clip, and copies and a worker that the test moves."""

    def __init__(self, folder, monkeypatch):
        self.built = Built(folder)
        self.app, self.clock = self.built.app, self.built.clock
        self.processes, self.may, self.fails = [], threading.Event(), None
        spec = parse(SPEC, clip_name=b"a.mp4", file="a.json")
        monkeypatch.setattr(self.app.pool, "_new_process", self._new_process)
        monkeypatch.setattr(self.app.grace, "enter", lambda _: None)
        monkeypatch.setattr(self.app.grace, "spec_of", lambda _: spec)
        bench = self

        def prepare(attempt, *_):
            bench.may.wait(10)
            if bench.fails:
                raise bench.fails
            attempt.prepared = Prepared(
                path=f"{attempt.folder}/working.mp4",
                frames=3,
                width=4,
                height=2,
                pad=(0, 0, 0, 0),
                fps_num=10,
                fps_den=1,
                copied=True,
                times="times",
                time_base="1/10",
                rate="10/1",
                constant=True,
            ).to_json()

        monkeypatch.setattr(Attempt, "prepare", prepare)
        monkeypatch.setattr(preparing, "complete", lambda *_, **__: None)
        (job,) = self.app.store.add([(b"a.mp4", b"sig")])
        job = put(self.app.store, job, "arrived", state=JobState.GRACE, source_hash="h1", source_info=INFO)
        put(self.app.store, job, "queued", state=JobState.QUEUED)
        self.app.pool.start()
        self.processes[-1].says(protocol.Loaded({"name": "fake"}))
        self.turn()

    def _new_process(self, _launch):
        self.processes.append(FakeProcess(self.clock))
        return self.processes[-1]

    def turn(self):
        self.app.run.tick(self.clock.now)

    def copy(self, *, fails=None):
        """Let the copies be made, or fail, and give the stage its turn."""
        self.fails = fails
        self.may.set()
        self.built.settle()
        self.turn()

    @property
    def job(self):
        return self.built.newest()

    @property
    def given(self):
        """The jobs that the workers got."""
        return [message for process in self.processes for message in process.sent if message.type == "generate"]


@pytest.fixture
def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.may.set()
    bench.built.close()


def test_job_reaches_its_worker(bench):
    """A job is claimed for a ready worker, which gets it once its copies are made."""
    assert (bench.job.state, bench.job.attempts, bench.given) == (JobState.RUNNING, 1, [])
    bench.copy()
    (given,) = bench.given
    assert (given.job_id, given.run_id) == (bench.job.id, bench.job.run_id)
    assert bench.app.pool.generating == 1
    bench.processes[0].says(protocol.Generated(given.job_id, given.run_id, {"path": "x"}))
    bench.turn()
    assert (bench.job.state, bench.app.pool.generating) == (JobState.CHECKING, 0)


@pytest.mark.parametrize(
    ("error", "state", "attempts"),
    [(NotAVideo("It is none."), JobState.FAILED, 1), (Shortage("Too little memory."), JobState.QUEUED, 0)],
)
def test_failed_copies_end_the_attempt(bench, error, state, attempts):
    """Copies that fail end the attempt by their error, and the worker is free."""
    bench.copy(fails=error)
    assert (bench.job.state, bench.job.attempts, bench.given) == (state, attempts, [])
    assert bench.app.pool.workers[0].active is None


def test_worker_lost_before_it_had_the_job(bench):
    """A job whose worker was lost while its copies were made is not charged."""
    bench.processes[0].exits(1)
    bench.turn()
    assert bench.job.state is JobState.RUNNING
    bench.copy()
    assert (bench.job.state, bench.job.attempts, bench.given) == (JobState.QUEUED, 0, [])
    released = [event for event in bench.app.store.journal.events(bench.job.id) if event.event == "released"]
    assert [event.data["problem"] for event in released] == ["The worker was lost before it had the job."]


def test_cancelled_while_it_is_copied(bench):
    """A job that is cancelled while its copies are made ends once they are, and no worker gets it."""
    bench.app.store.cancel(bench.job, "deleted")
    bench.copy()
    assert (bench.job.state, bench.given) == (JobState.CANCELLED, [])


def test_computed_control_is_told(bench):
    """While a control is computed before the engine has the job, its progress is in the journal; copying is not."""
    bench.turn()
    assert bench.app.journal.progress(bench.job.id) is None
    making = bench.app.pool.workers[0].active.making
    making.begin("computing depth")
    making.set(0.25)
    bench.clock.now += 3
    bench.turn()
    progress = bench.app.journal.progress(bench.job.id)
    assert (progress["stage"], progress["fraction"]) == ("computing depth", 0.25)


@pytest.mark.parametrize(("kind", "forgotten"), [("error", True), ("gpu-lost", False)])
def test_controls_that_may_be_at_fault(bench, monkeypatch, kind, forgotten):
    """After an error of the engine, the controls that it got from other looks are computed anew."""
    found = []
    monkeypatch.setattr(bench.app.preparing, "forget_controls", lambda job, _: found.append(job.id))
    bench.copy()
    (given,) = bench.given
    bench.processes[0].says(protocol.Failed(given.job_id, given.run_id, kind, "It broke.", ""))
    bench.turn()
    assert bool(found) is forgotten


def test_result_outlives_its_controls(bench, monkeypatch):
    """What was generated is not lost where a control cannot be kept for other looks."""

    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(bench.app.preparing, "keep_controls", broken)
    bench.copy()
    (given,) = bench.given
    bench.processes[0].says(protocol.Generated(given.job_id, given.run_id, {"path": "x"}))
    bench.turn()
    assert (bench.job.state, bench.job.attempts) == (JobState.CHECKING, 1)
    assert [type(error) for error in bench.built.unforeseen] == [RuntimeError]


@pytest.mark.parametrize("steps", [10, 35, 50, 700])
def test_each_tenth_is_said_once(steps):
    journal = SimpleNamespace(set_progress=lambda *_: None)
    store = SimpleNamespace(job=lambda _: None, journal=journal, clock=SimpleNamespace(wall=lambda: 0.0))
    run = SimpleNamespace(job=1, logged_tenths=0, noted_at=0.0, generating_since=0.0, expected=None)
    with capture_logs() as lines:
        for step in range(1, steps + 1):
            event = SimpleNamespace(fraction=step / steps, stage="x", chunk=0, chunks=1, step=step, steps=steps)
            note_progress(store, run, event, float(step))
    said = [int(line["percent"]) for line in lines if line["event"] == "progress"]
    assert [percent // 10 for percent in said] == list(range(1, 10))
