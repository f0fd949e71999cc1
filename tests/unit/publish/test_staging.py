"""What is left in outputs/.povwatch when a job ends between two attempts: nothing, in whatever way it ends."""

from __future__ import annotations

import json

import pytest
from support.put import advance, put

from povwatch.config.settings import SpecDefaults
from povwatch.core.errors import JobFailed, NotAVideo
from povwatch.core.job import JobState, Waiting
from povwatch.daemon.recovery import recover, sweep
from povwatch.files.signature import signature
from povwatch.media.info import VideoInfo
from povwatch.spec.first import first_spec
from povwatch.spec.parse import parse
from povwatch.spec.prompts import load_templates
from povwatch.spec.variables import Facts

INFO = json.dumps(VideoInfo(complete=True, frames=12, duration=0.4).to_json())


class World:
    """One clip whose first attempt was given up: it waits for the next one, and its checkpoints with it."""

    def __init__(self, built):
        self.built, self.app, self.settle, self.outputs = built, built.app, built.settle, built.outputs
        self.clip = built.inputs / "a.mp4"
        self.clip.write_bytes(b"a clip")
        self.job = self.waits(JobState.QUEUED)

    def waits(self, state, **to):
        """The job in a state between two attempts."""
        store = self.app.store
        (job,) = store.add([(b"a.mp4", signature(self.clip.stat()))])
        for step in (JobState.GRACE, JobState.QUEUED, JobState.RUNNING):
            job = put(store, job, "waiting", state=step, engine="preview", source_hash="h", source_info=INFO)
        (self.app.publisher.staging.checkpoints(job.id) / "chunk-1").write_bytes(b"GPU minutes")
        for step in {JobState.GRACE: (JobState.QUEUED, JobState.GRACE)}.get(state, (state,)):
            job = put(store, job, "waiting", state=step, waiting_on=Waiting.TURN, **to)
        return job

    def move(self, state):
        self.job = put(self.app.store, self.job, "waiting", state=state)
        return self.job

    @property
    def left(self):
        return sorted(path.name for path in (self.outputs / ".povwatch").iterdir())

    @property
    def state(self):
        return self.app.store.job(self.job.id).state


@pytest.fixture
def world(build):
    return World(build(grace={"period": "10s", "max": "1m"}))


def cancel(world):
    world.app.store.cancel(world.job, "`povwatch cancel` asked for it")


def delete(world):
    world.move(JobState.GRACE)
    world.app.store.cancel(world.job, "the clip was deleted")


def replace_by_no_video(world):
    job = world.move(JobState.ARRIVING)
    world.app.arrival._problems.reject(job, NotAVideo("It is a text."), b"stat")


def fail(world):
    world.app.grace.give_up(world.job, JobFailed("It cannot be done."))


def edit_back(world):
    """Its JSON says again what was published before."""
    text = first_spec(SpecDefaults(), load_templates(None)["driving"], b"a", Facts(b"a.mp4", ""))
    spec = parse(text, clip_name=b"a.mp4", file="")
    for state in (JobState.RUNNING, JobState.CHECKING, JobState.PUBLISHING, JobState.DONE):
        world.job = advance(world.app.journal, world.job, "waiting", 1.0, state=state, spec_hash=spec.digest())
    world.app.store.reread(world.job.id)
    world.job = world.waits(JobState.GRACE)
    assert world.app.grace._done_already(world.job, spec, digest=None, stat=None)


def expire(world):
    """Its JSON stayed wrong for too long."""
    world.move(JobState.GRACE)
    (world.built.inputs / "a.json").write_text("{")
    world.built.give_turns(world.app.grace, world.built.clock.now + world.built.config.grace.max + 2)


@pytest.mark.parametrize(
    ("end", "state"),
    [
        (cancel, "cancelled"),
        (delete, "cancelled"),
        (replace_by_no_video, "rejected"),
        (fail, "failed"),
        (edit_back, "done"),
        (expire, "rejected"),
    ],
)
def test_nothing_is_left_of_an_ended_job(world, end, state):
    """Nothing in outputs/.povwatch is left of a job, in whatever way it ended."""
    assert world.left == ["1"]
    end(world)
    world.settle()
    assert world.state == state
    assert str(world.job.id) not in world.left


def test_waiting_job_keeps_checkpoints(world):
    """A job that waits for its next attempt keeps its checkpoints."""
    world.app.results._clear_all()
    world.settle()
    assert world.left == ["1"]


def test_cleared_when_outputs_is_back(world):
    """A job that ended while outputs/ was away is cleared when that is back."""
    aside = world.outputs.with_name("aside")
    world.outputs.rename(aside)
    world.app.outputs_watch.tick(10.0)
    cancel(world)
    world.settle()
    assert world.state == "cancelled"
    aside.rename(world.outputs)
    assert world.left == ["1"]
    world.app.outputs_watch.tick(20.0)
    world.app.results.tick(20.0)
    world.settle()
    assert world.left == []


def test_nobodys_files_at_a_start(world):
    """At a start, what belongs to no job is removed, and strangers stay."""
    staging = world.app.publisher.staging
    staging.make(world.job.id, "a run that a crash ended")
    staging.make(77, "of a journal that was lost")
    staging.checkpoints(77)
    (world.outputs / ".povwatch/notes").mkdir()
    app = world.app
    app.store.crashed = True
    recover(app.store, app.mishaps)
    sweep(app.store, staging)
    assert world.left == ["1", "notes"]  # a name that is not ours stays
