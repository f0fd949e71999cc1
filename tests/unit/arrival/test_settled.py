"""The inspection of settled clips: refused, killed, of a long index, and of a clip that changes meanwhile."""

from __future__ import annotations

import errno
import subprocess

import pytest
from support import made_containers as made
from support.arrivals import SETTLE
from support.clips import make_clip

from povwatch import container
from povwatch.arrival.problems import INCOMPLETE_PATIENCE
from povwatch.container import reader
from povwatch.core.job import JobState, Waiting

pytestmark = pytest.mark.usefixtures("forked_media_children")


def test_refused_inspection_is_tried_again(here, monkeypatch):
    """A clip that the machine does not let us inspect waits with growing pauses, without an error file."""

    def refuse(*_, **__):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    make_clip(here.inputs / "a.mp4")
    here.rescan()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        here.until(1000 + SETTLE + 1)
        here.settle()
        tried = []
        for _ in range(4):
            assert (here.newest().state, here.newest().waiting_on) == (JobState.ARRIVING, Waiting.PAUSED)
            assert "temporarily unavailable" in here.newest().detail
            assert here.arrival.moving is (len(tried) < 2)
            due = here.arrival.next_deadline()
            tried.append(due - here.clock.now)
            here.until(due)
            here.settle()
    assert tried == [2, 4, 8, 16]
    assert here.arrived == []
    here.until(here.arrival.next_deadline())
    here.settle()
    assert here.arrived == [b"a.mp4"]
    assert not (here.inputs / "a.error.txt").exists()


def pauses(here):
    """Have the inspection tried again for as long as the clip is paused: the seconds before each try."""
    found = []
    while here.newest().waiting_on is Waiting.PAUSED:
        due = here.arrival.next_deadline()
        found.append(due - here.clock.now)
        here.until(due)
        here.settle()
    return found


def killing(times):
    """A Popen whose first so many processes are killed as the kernel kills without memory."""
    start, killed = subprocess.Popen, []

    def popen(*args, **kwargs):
        process = start(*args, **kwargs)
        if len(killed) < times:
            killed.append(process)
            process.kill()
        return process

    return popen


def test_killed_inspection_is_tried_again(here, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", killing(2))
    make_clip(here.inputs / "a.mp4")
    here.rescan()
    here.until(1000 + SETTLE + 1)
    here.settle()
    assert (here.newest().state, here.newest().waiting_on) == (JobState.ARRIVING, Waiting.PAUSED)
    assert "killed by SIGKILL" in here.newest().detail
    for _ in range(2):
        here.until(here.arrival.next_deadline())
        here.settle()
    assert here.arrived == [b"a.mp4"]


def test_inspection_killed_again_and_again(here, monkeypatch):
    """A clip whose inspection is always killed waits for a change, and its error file says so."""
    monkeypatch.setattr(subprocess, "Popen", killing(100))
    make_clip(here.inputs / "a.mp4")
    here.rescan()
    here.until(1000 + SETTLE + 1)
    here.settle()
    assert pauses(here) == [2, 4, 8, 16, 32]
    assert here.newest().waiting_on is Waiting.INCOMPLETE
    assert "killed by SIGKILL" in here.newest().detail
    here.until(1000 + INCOMPLETE_PATIENCE + SETTLE)
    assert "killed by SIGKILL" in (here.inputs / "a.error.txt").read_text()


@pytest.fixture
def long(here, monkeypatch):
    """A here to which every index is too long for the loop; what it says of clips that come in."""
    said = []

    def say(event, job, **more):
        if event == "arriving":
            said.append((event, job.path, more["percent"]))

    monkeypatch.setattr(reader, "BRIEF_TABLES", 0)
    monkeypatch.setattr("povwatch.arrival.progress.say", say)

    class Brief(reader.Reader):
        def __init__(self, *args, brief=False, **options):
            assert brief, "the loop looks for as long as a file likes"
            super().__init__(*args, brief=brief, **options)

    monkeypatch.setattr(container, "Reader", Brief)
    return said


def test_long_index_by_way_of_a_child(here, long):
    """A clip with a long index arrives by way of a child, and counts as moving."""
    make_clip(here.inputs / "a.mp4")
    here.rescan()
    here.until(1000 + SETTLE + 1)
    assert here.arrival.moving
    assert here.arrived == []
    here.settle()
    assert here.arrived == [b"a.mp4"]
    assert long == []


def test_long_index_tells_its_percentage(here, long):
    """A clip with a long index says how much of it has come, once for each tenth."""
    data = made.video(size=(160, 120), movflags="faststart")
    clip = here.inputs / "a.mp4"
    for percent in (50, 55, 80):
        clip.write_bytes(data[: len(data) * percent // 100 + 1])
        here.rescan()
        here.settle()
        here.until(here.clock.now + SETTLE / 2)
        here.settle()
    assert long == [("arriving", b"a.mp4", "50 %"), ("arriving", b"a.mp4", "80 %")]
    here.until(here.clock.now + SETTLE)
    here.settle()
    assert here.newest().waiting_on is Waiting.INCOMPLETE
    assert here.newest().detail == "It is cut off. About 80 % of it has arrived."
    clip.write_bytes(data)
    here.rescan()
    here.until(here.clock.now + SETTLE + 1)
    here.settle()
    assert here.arrived == [b"a.mp4"]


def test_childs_word_on_a_changed_clip(here, long):
    """What a child says of a clip that has changed meanwhile counts for nothing."""
    clip = here.inputs / "a.mp4"
    data = make_clip(clip).read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    here.rescan()
    here.until(1000 + SETTLE + 1)
    clip.write_bytes(data)
    here.rescan()
    here.settle()
    assert here.newest().waiting_on is Waiting.SETTLING
    here.until(here.clock.now + 2 * SETTLE)
    here.settle()
    assert here.arrived == [b"a.mp4"]


def test_job_let_go_while_a_child_reads(here, long):
    """A job that ends while a child reads its index is forgotten."""
    make_clip(here.inputs / "a.mp4")
    here.rescan()
    here.until(1000 + SETTLE + 1)
    here.cancel()
    here.settle()
    assert (here.newest().state, here.arrived) == (JobState.CANCELLED, [])


def test_long_index_and_killed_inspection(here, long, monkeypatch):
    """A child that reads the index and gets through takes nothing from how often the next one was killed."""
    start = subprocess.Popen

    def popen(args, *more, **options):
        process = start(args, *more, **options)
        if args[-1] == "inspect":
            process.kill()
        return process

    monkeypatch.setattr(subprocess, "Popen", popen)
    make_clip(here.inputs / "a.mp4")
    here.rescan()
    here.until(1000 + SETTLE + 1)
    here.settle()
    assert pauses(here) == [2, 4, 8, 16, 32]
    assert here.newest().waiting_on is Waiting.INCOMPLETE
