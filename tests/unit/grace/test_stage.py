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


def test_queued_when_its_grace_is_over(post):
    post.admit()
    post.until(1000 + PERIOD - 1)
    assert post.at() == GRACE
    post.until(1000 + PERIOD + 1)
    assert post.at() == QUEUED
    assert post.gates.spec_of(post.job).seed == 0


def test_edit_starts_it_anew_and_runs(post):
    """An edit starts the grace anew and goes into the run."""
    post.admit()
    post.until(1100)
    post.edit(seed=9)
    post.until(1100 + PERIOD - 1)
    assert post.at() == GRACE
    post.until(1100 + PERIOD + 1)
    assert post.at() == QUEUED
    assert post.gates.spec_of(post.job).seed == 9


def test_rest_survives_a_kill(post):
    post.admit()
    post.until(1060)
    post.restart(away=5)
    post.until(1000 + PERIOD - 1)
    assert post.at() == GRACE
    post.until(1000 + PERIOD + 12)  # what is left is noted every ten seconds
    assert post.at() == QUEUED


def test_thirty_seconds_after_a_long_stop(post):
    post.admit()
    post.until(1060)
    post.restart(away=86400)
    post.until(1060 + 86400 + 29)
    assert post.at() == GRACE
    post.until(1060 + 86400 + 31)
    assert post.at() == QUEUED


@pytest.mark.parametrize("way", ["held", "editing", "invalid"])
def test_standing_grace_stands_over_a_stop(post, way):
    """A grace that stands still stands still while povwatch is off, too."""
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


def test_queued_after_a_restart(post):
    """A queued clip is still queued after a restart."""
    post.admit()
    post.until(1000 + PERIOD + 1)
    post.restart(away=100)
    post.until(post.clock.now + 2)
    assert post.at() == QUEUED
    assert post.gates.spec_of(post.job) is not None


def test_time_away_does_not_count(post):
    """Time while the folder was away does not count."""
    post.admit()
    post.until(1010)
    post.clock.now = 5000
    post.gates.inputs_back(5000)
    post.until(5000 + PERIOD - 12)
    assert post.at() == GRACE
    post.until(5000 + PERIOD - 8)
    assert post.at() == QUEUED


def test_invalid_json_is_given_up(post):
    """An invalid JSON is rejected after the longest grace."""
    post.admit()
    post.spec.write_text("{")
    post.until(1000 + LIMIT - 1)
    assert post.at() == (JobState.GRACE, Waiting.INVALID_SPEC)
    post.until(1000 + LIMIT + 2)
    assert post.job.state is JobState.REJECTED
    assert [job.id for job in post.ended] == [post.first.id]
    assert post.error.exists()


def test_invalid_time_survives_a_restart(post):
    """How long a JSON was invalid survives a restart."""
    post.admit()
    post.spec.write_text("{")
    post.until(1000 + LIMIT / 2)
    post.restart(away=LIMIT / 4)
    post.until(1000 + LIMIT - 2)
    assert post.at() == (JobState.GRACE, Waiting.INVALID_SPEC)
    post.until(1000 + LIMIT + 2)
    assert post.job.state is JobState.REJECTED


def test_reference_that_comes_mends_a_json(post):
    """A named file that comes makes its JSON valid."""
    post.admit()
    post.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"})
    post.until(1005)
    assert post.at() == (JobState.GRACE, Waiting.INVALID_SPEC)
    assert "edge.mp4" in post.error.read_text()
    make_clip(post.inputs / "edge.mp4")
    post.measured(1020)
    assert post.at() == GRACE
    assert not post.error.exists()


def test_json_missing_for_a_moment(post):
    """A JSON that is missing for a moment is not written anew."""
    post.admit()
    post.until(1010)
    mine = post.spec.read_bytes()
    post.spec.unlink()
    post.until(1011.5)
    assert not post.spec.exists()
    post.spec.write_bytes(mine)
    post.until(1000 + PERIOD + 1)
    assert post.at() == QUEUED


def test_missing_json_is_not_claimed(post):
    """A job whose JSON is missing is not claimed, and goes back to its grace."""
    post.admit()
    post.until(1000 + PERIOD + 1)
    post.spec.unlink()
    assert post.gates.spec_of(post.job) is None
    post.until(post.clock.now + 3)
    assert post.spec.exists()
    assert post.at() == GRACE


def test_no_json_for_a_gone_clip(post):
    post.admit()
    (post.inputs / "a.mp4").unlink()
    post.spec.unlink()
    post.until(1030)
    assert not post.spec.exists()


def test_refusing_folder_stops_the_clock(post, monkeypatch):
    """A folder that refuses the JSON is told, and the clock waits."""

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
def test_who_holds_it_is_told(post, by):
    """Who holds a clip is told, and only the JSON gives way to a go file."""
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


def test_fault_of_ours_costs_one_clip(post, monkeypatch):
    """An exception in one clip's look is reported."""
    post.admit()
    monkeypatch.setattr(post.beside, "markers", lambda _: 1 / 0)
    post.gates.tick(1001)
    assert [type(error) for error in post.mishaps.broken] == [ZeroDivisionError]


@pytest.mark.parametrize(
    "name", [b"a.json", b"a.go", b"a.hold", b".a.json.swp", b".#a.json", b".~lock.a.json#", b"a.error.txt"]
)
def test_change_beside_brings_the_next_look(post, name):
    """A change of a file beside a clip makes its next look come at once."""
    post.admit()
    post.until(1010)
    waits = post.gates.next_deadline()
    assert waits > 1010
    post.gates.beside_changed(b"elsewhere/" + name)
    post.gates.beside_changed(b"b.json")
    assert post.gates.next_deadline() == waits
    post.gates.beside_changed(name)
    assert post.gates.next_deadline() <= 1010 or name == b"a.error.txt"


def test_clip_among_many_starts_on_time(post, monkeypatch):
    """A clip among many starts on time, though not all are looked at in each second."""
    monkeypatch.setattr("povwatch.grace.stage.CHECKS_A_SECOND", 0.01)
    post.admit()
    post.until(1000 + PERIOD + 0.1)
    assert post.at() == QUEUED


@pytest.mark.parametrize("by", ["marker", "command", "json"])
def test_held_clip_at_a_restart(post, by):
    """A held clip is announced as held at a restart, not with a deadline."""
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


def test_running_clock_at_a_restart(post):
    """A clip whose clock runs is announced once at a restart, with its deadline."""
    post.admit()
    post.until(1010)
    with capture_logs() as said:
        post.restart(away=5)
        post.until(post.clock.now + 5)
    assert [(line["event"], line["deadline"]) for line in said] == [("grace", "1120")]


def test_held_from_the_first(post):
    """A clip that is held from the first gets no deadline."""
    (post.inputs / "a.hold").touch()
    with capture_logs() as said:
        post.admit()
        post.until(1002)
    assert [line["event"] for line in said] == ["arrived", "spec-written", "held"]


def test_editor_closed_without_a_change(post):
    """An editor that is closed without a change gives a new deadline."""
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


def test_editor_closed_after_a_save(post):
    """An editor that saved is not said to have changed nothing."""
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
def test_half_written_json_is_no_mistake(post, queued):
    """A JSON that is seen half written is no mistake: it is looked at again first."""
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


def test_uneven_clip_has_no_one_rate(post, info):
    """A clip with a variable rate is not said to have one."""
    for constant, pace in ((True, "30 frames a second"), (False, "about 30 frames a second, not evenly spaced")):
        post.info = dataclasses.replace(info, constant=constant)
        with capture_logs() as said:
            post.admit()
        assert [line["pace"] for line in said if line["event"] == "arrived"] == [pace]
        put(post.store, post.job, "changed", state=JobState.ARRIVING)


def test_edit_back_to_a_published_run(post):
    """An edit in the queue to what was published before is done, even if go was said."""
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
