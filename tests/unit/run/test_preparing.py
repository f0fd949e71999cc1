"""Copies that are made ahead: when they are taken, when they are not, and what is left of them."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from support.built import Built

from povwatch.attempt.attempt import Attempt
from povwatch.core.errors import NotAVideo
from povwatch.core.job import JobState
from povwatch.run import preparing
from povwatch.spec.parse import parse

SPEC = b'{"name": "a", "video_path": "a.mp4", "prompt": "hands", "edge": {"control_path": "edges.mp4"}}'


class World(Built):
    """One queued clip whose JSON names a control video; making the copies is the test's to allow."""

    def __init__(self, folder, monkeypatch):
        super().__init__(folder)
        self.control = self.inputs / "edges.mp4"
        self.control.write_text("edges")
        self.spec = parse(SPEC, clip_name=b"a.mp4", file="a.json")
        self.store, self.preparing, self.background = self.app.store, self.app.preparing, self.app.background
        (job,) = self.store.add([(b"a.mp4", b"sig")])
        self.move(job, "arrived", state=JobState.GRACE, source_hash="h1", source_info="{}")
        self.job = self.move(job, "queued", state=JobState.QUEUED)
        self.may, self.fails, self.made = threading.Event(), None, []
        self.may.set()
        monkeypatch.setattr(self.app.grace, "spec_of", lambda _: self.spec)
        world = self

        def prepare(attempt, _root, clip, _report, cancelled):
            world.may.wait(10)
            if world.fails:
                raise world.fails
            if cancelled.is_set():
                raise InterruptedError
            copy = f"{attempt.folder}/working.mp4"
            with open(copy, "wb") as file:  # noqa: PTH123
                file.write(clip)
            attempt.prepared = {"path": copy, "copied": True, "frames": 3, "width": 4, "height": 2}
            world.made.append(attempt)

        monkeypatch.setattr(Attempt, "prepare", prepare)
        monkeypatch.setattr(preparing, "complete", lambda *_, **__: None)

    def tick(self, wanted=1):
        self.clock.now += 1
        self.preparing.tick(self.clock.now, wanted=wanted)

    def ahead(self):
        self.tick()
        self.settle()
        return self

    def rooms(self):
        return sorted(room.name for room in (self.outputs / ".povwatch").glob("*.*"))


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch)
    yield world
    world.may.set()
    world.close()
    world.no_bug()
    assert world.rooms() == []


def test_copies_are_taken_at_the_claim(world):
    """Copies that were made ahead are taken once, at the claim; nothing is charged before."""
    world.ahead()
    assert world.store.job(world.job.id) == world.job, "nothing is claimed, frozen or charged"
    run = world.preparing.take(world.job, world.spec)
    assert run.prepared
    assert world.rooms() == [f"{world.job.id}.{run.run_id}"]
    assert world.preparing.take(world.job, world.spec) is None, "it is taken once"
    world.preparing._discard(run)


def test_unfinished_copies_are_taken_too(world):
    """Copies that are still being made are taken, and told when they are there."""
    world.may.clear()
    world.tick()
    run = world.preparing.take(world.job, world.spec)
    assert not run.prepared
    world.may.set()
    world.settle()
    assert (run.prepared, run.failure) == (True, None)
    world.preparing._discard(run)


def test_edit_that_copies_nothing_else(world):
    """An edit that copies nothing else keeps the copies, and is what runs."""
    world.ahead()
    edited = parse(SPEC.replace(b"hands", b"gloves"), clip_name=b"a.mp4", file="a.json")
    run = world.preparing.take(world.job, edited)
    assert run.attempt.spec["prompt"] == "gloves"
    world.preparing._discard(run)


@pytest.mark.parametrize("change", ["another file is named", "the file is another", "the file is gone", "the clip"])
def test_other_files_are_copied_anew(world, change):
    """Where other files would be copied now, the copies are made anew."""
    world.ahead()
    job, spec = world.job, world.spec
    if change == "another file is named":
        (world.inputs / "other.mp4").write_text("edges")
        spec = parse(SPEC.replace(b"edges.mp4", b"other.mp4"), clip_name=b"a.mp4", file="a.json")
    elif change == "the file is another":
        world.control.write_text("other edges")
    elif change == "the file is gone":
        world.control.unlink()
    else:
        job = dataclasses.replace(job, source_hash="h2")
    assert world.preparing.take(job, spec) is None
    assert world.rooms() == []


@pytest.mark.parametrize("made", [True, False])
def test_unqueued_job_has_nothing_ahead(world, made):
    """A job that is no longer queued has nothing made ahead."""
    if not made:
        world.may.clear()
    world.tick()
    if made:
        world.settle()
    world.move(world.job, "edited", state=JobState.GRACE)
    world.tick()
    world.may.set()
    world.settle()
    assert world.rooms() == []


def test_no_more_than_wanted(world):
    """No more copies are made ahead than wanted, and make_room removes them."""
    world.tick(wanted=0)
    assert world.background.idle
    world.ahead().tick(wanted=1)
    assert len(world.made) == 1
    world.preparing.drop_all()
    assert world.rooms() == []


def test_failed_ahead_is_left_to_the_claim(world):
    """What cannot be made ahead is left to the claim, and not tried again."""
    world.fails = NotAVideo("It is none.")
    world.ahead().ahead()
    assert world.rooms() == []
    assert world.made == []
    assert world.preparing.take(world.job, world.spec) is None
    world.fails = None
    world.ahead()
    assert world.made == [], "it is not tried again and again"


def test_failed_claim_is_told(world):
    """A claim that cannot be prepared is told."""
    world.fails = NotAVideo("It is none.")
    run = world.preparing.begin(world.job, "r1", world.spec)
    world.settle()
    assert (run.prepared, run.failure) == (False, world.fails)
    world.preparing._discard(run)
