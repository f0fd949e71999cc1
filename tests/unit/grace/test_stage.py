"""From arrived to queued, with time passed in: real files, a real journal, and a clock that stands until it is set."""

from __future__ import annotations

import dataclasses
import os

import pytest
from structlog.testing import capture_logs
from support.clips import make_clip
from support.posts import GRACE, QUEUED, Post, inspected
from support.put import put

from povwatch.core.events import SENTENCES
from povwatch.core.job import JobState, Waiting
from povwatch.spec.inputs_folder import InputsRefused

PERIOD, LIMIT = 120.0, 3600.0


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    return inspected(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def post(tmp_path, info):
    made = Post(tmp_path, info)
    yield made
    made.close()


def test_a_clip_is_queued_when_its_grace_is_over(post):
    post.admit()
    post.until(1000 + PERIOD - 1)
    assert post.at() == GRACE
    post.until(1000 + PERIOD + 1)
    assert post.at() == QUEUED
    assert post.gates.spec_of(post.job).seed == 0


def test_an_edit_starts_it_anew_and_goes_into_the_run(post):
    post.admit()
    post.until(1100)
    post.edit(seed=9)
    post.until(1100 + PERIOD - 1)
    assert post.at() == GRACE
    post.until(1100 + PERIOD + 1)
    assert post.at() == QUEUED
    assert post.gates.spec_of(post.job).seed == 9


def test_what_is_left_survives_a_kill(post):
    post.admit()
    post.until(1060)
    post.restart(away=5)
    post.until(1000 + PERIOD - 1)
    assert post.at() == GRACE
    post.until(1000 + PERIOD + 12)  # what is left is noted every ten seconds
    assert post.at() == QUEUED


def test_after_a_long_stop_thirty_seconds_are_left(post):
    post.admit()
    post.until(1060)
    post.restart(away=86400)
    post.until(1060 + 86400 + 29)
    assert post.at() == GRACE
    post.until(1060 + 86400 + 31)
    assert post.at() == QUEUED


@pytest.mark.parametrize("way", ["held", "editing", "invalid"])
def test_a_grace_that_stands_still_stands_still_over_a_stop_too(post, way):
    post.admit()
    post.until(1020)
    lock = post.inputs / ".a.json.swp"
    if way == "held":
        (post.inputs / "a.hold").touch()
    elif way == "editing":
        lock.touch()
        os.utime(lock, (post.clock.wall(), post.clock.wall()))
    else:
        right = post.spec.read_text()
        post.spec.write_text("{")
    post.until(1030)
    post.restart(away=LIMIT / 2)
    post.until(post.clock.now + 10)
    if way == "invalid":
        post.spec.write_text(right)
        (left, because) = (PERIOD, "an edit starts it anew")
    else:
        (post.inputs / "a.hold").unlink(missing_ok=True)
        lock.unlink(missing_ok=True)
        (left, because) = (PERIOD - 20, "it stood still from then on")
    begun = post.clock.now
    post.until(begun + left - 2)
    assert post.at() == GRACE, because
    post.until(begun + left + 2)
    assert post.at() == QUEUED, because


def test_a_queued_clip_is_still_queued_after_a_restart(post):
    post.admit()
    post.until(1000 + PERIOD + 1)
    post.restart(away=100)
    post.until(post.clock.now + 2)
    assert post.at() == QUEUED
    assert post.gates.spec_of(post.job) is not None


def test_time_while_the_folder_was_away_does_not_count(post):
    post.admit()
    post.until(1010)
    post.clock.now = 5000
    post.gates.inputs_back(5000)
    post.until(5000 + PERIOD - 12)
    assert post.at() == GRACE
    post.until(5000 + PERIOD - 8)
    assert post.at() == QUEUED


def test_an_invalid_json_is_given_up_after_the_longest_grace(post):
    post.admit()
    post.spec.write_text("{")
    post.until(1000 + LIMIT - 1)
    assert post.at() == (JobState.GRACE, Waiting.INVALID_SPEC)
    post.until(1000 + LIMIT + 2)
    assert post.job.state is JobState.REJECTED
    assert [job.id for job in post.ended] == [post.first.id]
    assert post.error.exists()


def test_how_long_it_was_invalid_survives_a_restart(post):
    post.admit()
    post.spec.write_text("{")
    post.until(1000 + LIMIT / 2)
    post.restart(away=LIMIT / 4)
    post.until(1000 + LIMIT - 2)
    assert post.at() == (JobState.GRACE, Waiting.INVALID_SPEC)
    post.until(1000 + LIMIT + 2)
    assert post.job.state is JobState.REJECTED


def test_a_reference_that_comes_puts_a_json_right(post):
    post.admit()
    post.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"})
    post.until(1005)
    assert post.at() == (JobState.GRACE, Waiting.INVALID_SPEC)
    assert "edge.mp4" in post.error.read_text()
    make_clip(post.inputs / "edge.mp4")
    post.measured(1020)
    assert post.at() == GRACE
    assert not post.error.exists()


def test_a_json_that_is_missing_for_a_moment_is_not_written(post):
    post.admit()
    post.until(1010)
    mine = post.spec.read_bytes()
    post.spec.unlink()
    post.until(1011.5)
    assert not post.spec.exists()
    post.spec.write_bytes(mine)
    post.until(1000 + PERIOD + 1)
    assert post.at() == QUEUED


def test_a_json_that_is_missing_is_not_claimed_without(post):
    post.admit()
    post.until(1000 + PERIOD + 1)
    post.spec.unlink()
    assert post.gates.spec_of(post.job) is None
    post.until(post.clock.now + 3)
    assert post.spec.exists()
    assert post.at() == GRACE


def test_no_json_is_written_for_a_clip_that_is_gone(post):
    post.admit()
    (post.inputs / "a.mp4").unlink()
    post.spec.unlink()
    post.until(1030)
    assert not post.spec.exists()


def test_a_folder_that_refuses_is_said_and_the_clock_waits(post, monkeypatch):
    def refuse(path, data):
        raise InputsRefused("May not write inputs/a.json: Permission denied.", "chmod g+w.")

    monkeypatch.setattr(post.beside, "write_spec", refuse)
    post.admit()
    post.until(1000 + 2 * PERIOD)
    assert post.at() == (JobState.GRACE, Waiting.INPUTS_REFUSED)
    assert "Permission denied" in post.job.detail
    monkeypatch.undo()
    post.until(1001 + 2 * PERIOD)
    assert post.at() == GRACE
    post.until(1000 + 3 * PERIOD - 2)
    assert post.at() == GRACE
    post.until(1000 + 3 * PERIOD + 2)
    assert post.at() == QUEUED


@pytest.mark.parametrize("by", ["marker", "command", "json"])
def test_who_holds_it_is_said_and_only_the_json_gives_way_to_go(post, by):
    post.admit()
    if by == "marker":
        (post.inputs / "a.hold").touch()
    elif by == "json":
        post.edit(povwatch={"start": "hold"})
    else:
        put(post.store, post.job, "request", hold=True)
    post.until(1002)
    assert post.at() == (JobState.GRACE, Waiting.HELD)
    said = {
        "marker": "a.hold is there; remove that file to let the clip go",
        "command": "povwatch hold was said; povwatch go a.mp4 lets it go",
        "json": 'its JSON says "start": "hold"; take that out, or: povwatch go a.mp4',
    }
    assert post.job.detail == said[by]
    (post.inputs / "a.go").touch()
    post.until(1004)
    assert post.at() == (QUEUED if by == "json" else (JobState.GRACE, Waiting.HELD))


def test_a_fault_of_ours_costs_one_clip_only(post, monkeypatch):
    post.admit()
    monkeypatch.setattr(post.beside, "markers", lambda _: 1 / 0)
    post.gates.tick(1001)
    assert [type(error) for error in post.mishaps.broken] == [ZeroDivisionError]


@pytest.mark.parametrize(
    "name", [b"a.json", b"a.go", b"a.hold", b".a.json.swp", b".#a.json", b".~lock.a.json#", b"a.error.txt"]
)
def test_a_change_beside_a_clip_makes_the_next_look_come_at_once(post, name):
    post.admit()
    post.until(1010)
    waits = post.gates.next_deadline()
    assert waits > 1010
    post.gates.beside_changed(b"elsewhere/" + name)
    post.gates.beside_changed(b"b.json")
    assert post.gates.next_deadline() == waits
    post.gates.beside_changed(name)
    assert post.gates.next_deadline() <= 1010 or name == b"a.error.txt"


def test_a_clip_among_many_starts_on_time(post, monkeypatch):
    monkeypatch.setattr("povwatch.grace.stage.LOOKS_A_SECOND", 0.01)
    post.admit()
    post.until(1000 + PERIOD + 0.1)
    assert post.at() == QUEUED


@pytest.mark.parametrize("by", ["marker", "command", "json"])
def test_a_held_clip_is_announced_as_held_at_a_restart_and_not_with_a_deadline(post, by):
    post.admit()
    if by == "marker":
        (post.inputs / "a.hold").touch()
    elif by == "json":
        post.edit(povwatch={"start": "hold"})
    else:
        put(post.store, post.job, "request", hold=True)
    post.until(1002)
    with capture_logs() as said:
        post.restart(away=5)
        post.until(post.clock.now + 2)
    assert [line["event"] for line in said] == ["held"]


def test_a_clip_whose_clock_runs_is_announced_at_a_restart_once(post):
    post.admit()
    post.until(1010)
    with capture_logs() as said:
        post.restart(away=5)
        post.until(post.clock.now + 5)
    assert [(line["event"], line["deadline"]) for line in said] == [("grace", "1120")]


def test_a_clip_that_is_held_from_the_first_gets_no_deadline(post):
    (post.inputs / "a.hold").touch()
    with capture_logs() as said:
        post.admit()
        post.until(1002)
    assert [line["event"] for line in said] == ["arrived", "spec-written", "held"]


def test_an_editor_that_is_closed_without_a_change_gives_a_new_deadline(post):
    post.admit()
    post.until(1020)
    lock = post.inputs / ".a.json.swp"
    lock.touch()
    os.utime(lock, (post.clock.wall(), post.clock.wall()))
    with capture_logs() as said:
        post.until(1060)
        assert post.at() == (JobState.GRACE, Waiting.EDITING)
        assert post.job.detail == ".a.json.swp is there"
        lock.unlink()
        post.until(1062)
    editing, closed = said
    assert (editing["event"], editing["lock"]) == ("editing", b".a.json.swp")
    assert closed["event"] == "editor-closed"
    assert 1160 <= float(closed["deadline"]) <= 1161
    assert post.at() == GRACE


def test_an_editor_that_saves_and_is_closed_later_is_not_said_to_have_changed_nothing(post):
    post.admit()
    lock = post.inputs / ".a.json.swp"
    lock.touch()
    os.utime(lock, (post.clock.wall(), post.clock.wall()))
    post.until(1020)
    post.edit(seed=9)
    post.until(1040)
    with capture_logs() as said:
        lock.unlink()
        post.until(1062)
    assert [line["event"] for line in said] == ["editor-closed"]
    assert "without a change" not in SENTENCES["editor-closed"][1]


@pytest.mark.parametrize("queued", [False, True])
def test_a_json_that_is_seen_half_written_is_no_mistake(post, queued):
    post.admit()
    seen = 1000 + PERIOD + 1 if queued else 1050
    post.until(seen)
    whole = post.spec.read_text()
    with capture_logs() as said:
        post.spec.write_text(whole[: len(whole) // 2])
        post.gates.beside_changed(b"a.json")
        post.gates.tick(post.clock.now)
        if queued:
            assert post.gates.spec_of(post.job) is None
        assert not post.error.exists()
        post.spec.write_text(whole.replace('"seed": 0', '"seed": 9'))
        post.until(seen + 2)
    assert [line["event"] for line in said] == ["edited"]
    assert not post.error.exists()
    post.until(seen + PERIOD - 1)
    assert post.at() == GRACE
    post.until(seen + PERIOD + 2)
    assert post.gates.spec_of(post.job).seed == 9


def test_an_uneven_clip_is_not_said_to_have_one_rate(post, info):
    for constant, pace in ((True, "30 frames a second"), (False, "about 30 frames a second, not evenly spaced")):
        post.info = dataclasses.replace(info, constant=constant)
        with capture_logs() as said:
            post.admit()
        assert [line["pace"] for line in said if line["event"] == "arrived"] == [pace]
        put(post.store, post.job, "changed", state=JobState.ARRIVING)


def test_an_edit_in_the_queue_to_what_was_published_before_is_no_run_although_go_was_said(post):
    post.admit()
    post.until(1000 + PERIOD + 1)
    spec_hash = post.gates.spec_of(post.job).digest()
    for state in (JobState.RUNNING, JobState.CHECKING, JobState.PUBLISHING, JobState.DONE):
        to = {"run_id": "r", "engine": post.engine["kind"], "spec_hash": spec_hash, "output": "a/a_preview.mp4"}
        done = put(post.store, post.job, "moved", state=state, **to)
    (post.inputs / "a.go").touch()
    post.edit(seed=9)
    post.store.add([(b"a.mp4", done.source_stat)])
    post.admit()
    assert post.at() == QUEUED
    post.edit(seed=7)
    assert post.gates.spec_of(post.job).seed == 7
    assert post.at() == QUEUED
    post.edit(seed=0)
    assert post.gates.spec_of(post.job) is None
    assert (post.job.id, post.job.state, post.job.output) == (done.id + 1, JobState.DONE, "a/a_preview.mp4")
    assert post.ended[-1] == post.job
