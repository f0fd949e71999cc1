"""Clips on their way in, with time passed in: real files, a real journal, and a clock that stands until it is set."""

from __future__ import annotations

import errno
import subprocess

import pytest
from support import made_containers as made
from support.built import Built
from support.clips import make_clip
from support.damaged import noisy, remuxed

from povwatch import container
from povwatch.arrival.problems import INCOMPLETE_PATIENCE
from povwatch.arrival.stage import GONE_PATIENCE, LET_GO_QUIET
from povwatch.container import reader
from povwatch.core.job import JobState, Waiting
from povwatch.core.retry import backoff

pytestmark = pytest.mark.usefixtures("forked_media_children")

SETTLE = 5.0


class Arrivals(Built):
    """Clips on their way in. Those that have arrived stay in their grace, whose clock stands."""

    def __init__(self, folder):
        super().__init__(folder, arrival={"settle": f"{SETTLE}s"})

    @property
    def arrival(self):
        return self.app.arrival

    @property
    def arrived(self):
        return [job.path for job in self.app.store.in_state(JobState.GRACE)]

    @property
    def gone(self):
        """The clips whose jobs ended since they are gone."""
        return [job.path for job in self.app.store.ended.values() if job.detail == "the clip was deleted"]

    def until(self, when):
        """Let time pass, and have each clip looked at whenever that is due."""
        self.give_turns(self.arrival, when)

    def cancel(self):
        self.app.store.cancel(self.newest(), "`povwatch cancel` asked for it")


@pytest.fixture
def here(tmp_path):
    made = Arrivals(tmp_path)
    yield made
    made.close()
    made.no_bug()


def test_error_file_after_fifteen_minutes(here):
    """The error file of an incomplete clip comes after fifteen minutes, and not before."""
    clip = here.inputs / "a.mp4"
    data = make_clip(here.inputs.parent / "made.mp4").read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    error = here.inputs / "a.error.txt"
    here.rescan()
    here.until(1000 + INCOMPLETE_PATIENCE - 1)
    assert here.newest().waiting_on is Waiting.INCOMPLETE
    assert not error.exists()
    here.until(1000 + INCOMPLETE_PATIENCE + SETTLE)
    assert "incomplete" in error.read_text()
    assert "%" in error.read_text()
    assert "Copy it again" in error.read_text()


def test_error_file_names_go_damaged(here):
    """The error file of a clip that decodes in part names go --damaged; that of another does not."""
    made = noisy(here.inputs.parent / "made.mp4")
    data = remuxed(made, here.inputs.parent / "front.mp4", movflags="faststart").read_bytes()
    (here.inputs / "a.mp4").write_bytes(data[: len(data) * 2 // 3])
    (here.inputs / "b.mp4").write_bytes(made.read_bytes()[: len(data) * 2 // 3])  # its index is missing
    here.rescan()
    here.until(1000 + INCOMPLETE_PATIENCE + 2 * SETTLE)
    assert "have what can be decoded run: povwatch go --damaged a.mp4" in (here.inputs / "a.error.txt").read_text()
    assert "--damaged" not in (here.inputs / "b.error.txt").read_text()


def test_more_bytes_start_the_patience_anew(here):
    clip = here.inputs / "a.mp4"
    data = make_clip(here.inputs.parent / "made.mp4").read_bytes()
    clip.write_bytes(data[: len(data) // 4])
    here.rescan()
    here.until(1800)
    clip.write_bytes(data[: len(data) // 2])
    here.rescan()
    here.until(1800 + INCOMPLETE_PATIENCE - 1)
    assert not (here.inputs / "a.error.txt").exists()
    here.until(1800 + INCOMPLETE_PATIENCE + SETTLE)
    assert (here.inputs / "a.error.txt").exists()


def test_patience_goes_on_over_a_restart(here):
    clip = here.inputs / "a.mp4"
    clip.touch()
    here.rescan()
    here.until(1000 + INCOMPLETE_PATIENCE - 60)
    here.restart()  # a minute before it would be said
    here.rescan()
    here.until(1000 + INCOMPLETE_PATIENCE - 10)
    assert not (here.inputs / "a.error.txt").exists()
    here.until(1000 + INCOMPLETE_PATIENCE + 2 * SETTLE)
    assert (here.inputs / "a.error.txt").exists()


def test_clip_has_one_timer(here):
    """A clip has one timer, however often it changes."""
    clip = here.inputs / "a.mp4"
    for size in range(1, 200):
        clip.write_bytes(bytes(size))
        here.rescan()
        here.clock.now += 0.01
    samples = []
    sample = here.arrival._sample
    here.arrival._sample = lambda *args: (samples.append(args), sample(*args))
    here.until(here.clock.now + SETTLE + 1)
    assert len(samples) <= 4
    assert here.newest().waiting_on is Waiting.INCOMPLETE


def test_gone_clip_has_five_seconds(here):
    """A clip that is gone has five seconds to come back."""
    clip, aside = here.inputs / "a.mp4", here.inputs.parent / "aside.mp4"
    clip.touch()
    here.rescan()
    here.until(1010)
    clip.rename(aside)
    here.rescan()
    here.until(1010 + GONE_PATIENCE - 0.1)
    assert here.gone == []
    aside.rename(clip)
    here.until(1030)
    assert here.gone == []
    clip.unlink()
    here.rescan()
    here.until(1030 + GONE_PATIENCE)
    assert here.gone == [b"a.mp4"]


def test_waiting_clips_have_patience_due(here):
    """Clips that wait have nothing due but their patience, and count as not moving."""
    for number in range(50):
        (here.inputs / f"{number}.mp4").touch()
    here.rescan()
    here.until(1000 + 3 * SETTLE)
    assert here.arrival.next_deadline() == 1000 + INCOMPLETE_PATIENCE
    assert not here.arrival.moving


def test_later_partial_holds_it_back(here):
    """A partial file that comes after the last rescan holds a clip back."""
    make_clip(here.inputs / "a.mp4")
    here.rescan()
    (here.inputs / "a.mp4.crdownload").touch()
    here.until(1000 + SETTLE + 1)
    assert (here.newest().state, here.newest().waiting_on) == (JobState.ARRIVING, Waiting.INCOMPLETE)
    assert here.newest().detail == "a.mp4.crdownload is still beside it"
    assert not here.arrival.moving
    (here.inputs / "a.mp4.crdownload").unlink()
    here.rescan()
    here.until(1000 + 3 * SETTLE)
    here.settle()
    assert here.arrived == [b"a.mp4"]


def test_older_partial_is_a_left_over(here):
    """A partial file that is older than the clip does not hold it back."""
    (here.inputs / "a.mp4.part").touch()
    make_clip(here.inputs / "a.mp4")
    here.rescan()
    here.until(1000 + SETTLE + 1)
    here.settle()
    assert here.arrived == [b"a.mp4"]


def test_partial_holds_it_not_moving(here):
    """A clip that a partial file holds back counts as not moving until that is gone."""
    make_clip(here.inputs / "a.mp4")
    (here.inputs / "a.mp4.part").touch()
    here.rescan()
    here.until(1000 + 2 * SETTLE)
    assert here.newest().waiting_on is Waiting.INCOMPLETE
    assert not here.arrival.moving
    (here.inputs / "a.mp4.part").unlink()
    here.rescan()
    assert here.arrival.moving


def test_partial_for_long_is_told(here):
    """A partial file that holds a clip back for long is told in the error file."""
    make_clip(here.inputs / "a.mp4")
    (here.inputs / "a.mp4.part").touch()
    here.rescan()
    here.until(1000 + INCOMPLETE_PATIENCE - 1)
    error = here.inputs / "a.error.txt"
    assert not error.exists()
    here.until(1000 + INCOMPLETE_PATIENCE + 2 * SETTLE)
    assert "a.mp4.part is still beside it" in error.read_text()
    assert "delete a.mp4.part" in error.read_text()
    (here.inputs / "a.mp4.part").unlink()
    here.rescan()
    here.until(1000 + INCOMPLETE_PATIENCE + 4 * SETTLE)
    here.settle()
    assert here.arrived == [b"a.mp4"]
    assert not error.exists()


def test_fault_of_ours_costs_one_clip(here, monkeypatch):
    """An exception costs one clip one look; it and the others go on."""
    (here.inputs / "a.mp4").touch()
    (here.inputs / "b.mp4").touch()
    here.rescan()
    real = here.arrival._files.sample

    def sample(path):
        if path == b"a.mp4":
            raise ZeroDivisionError
        return real(path)

    monkeypatch.setattr(here.arrival._files, "sample", sample)
    here.clock.now += SETTLE
    here.arrival.tick(here.clock.now)
    assert {type(error) for error in here.unforeseen} == {ZeroDivisionError}
    here.unforeseen.clear()
    monkeypatch.undo()
    here.clock.now += backoff(1)
    here.app.mishaps.tick(here.clock.now)
    here.until(1000 + 4 * SETTLE)
    for path in (b"a.mp4", b"b.mp4"):
        assert here.newest(path).waiting_on is Waiting.INCOMPLETE


def test_gone_clips_at_the_start(here):
    """Jobs of clips that are gone at the start are withdrawn after the patience."""
    (here.inputs / "a.mp4").touch()
    here.rescan()
    (here.inputs / "a.mp4").unlink()
    here.restart()
    here.rescan()
    here.until(1000 + GONE_PATIENCE + SETTLE)
    assert here.gone == [b"a.mp4"]


def test_error_file_goes_with_its_clip(here):
    """The error file of a rejected clip is removed with it, and not before."""
    (here.inputs / "a.mp4").write_text("no video\n" * 20)
    here.rescan()
    here.until(1000 + 2 * SETTLE)
    assert here.newest().state is JobState.REJECTED
    assert (here.inputs / "a.error.txt").exists()
    here.rescan()
    assert (here.inputs / "a.error.txt").exists()
    (here.inputs / "a.mp4").unlink()
    here.rescan()
    assert not (here.inputs / "a.error.txt").exists()


def test_taken_over_error_file_stays(here):
    """An error file that another clip has taken over stays."""
    (here.inputs / "a.mp4").write_text("no video\n" * 20)
    here.rescan()
    here.until(1000 + 2 * SETTLE)
    (here.inputs / "a.mp4").unlink()
    here.app.journal.give_base_back(b"a.mp4")
    (here.inputs / "a.mov").write_text("no video either\n" * 20)
    here.rescan()
    here.until(1000 + 5 * SETTLE)
    assert here.newest(b"a.mov").base == b"a"
    here.rescan()
    assert "a.mov" in (here.inputs / "a.error.txt").read_text()


def test_cancelled_copy_is_not_taken_again(here):
    """A copy that was cancelled is not taken in again while it grows, only once it is quiet."""

    def grow():
        with (here.inputs / "a.mp4").open("ab") as file:
            file.write(b"more")
        here.rescan()
        return len(here.app.journal.jobs())

    assert grow() == 1
    here.cancel()
    for _ in range(5):
        here.clock.now += 30
        assert grow() == 1
    here.clock.now += LET_GO_QUIET
    assert grow() == 2


def test_another_file_is_taken_at_once(here):
    """Another file in the place of a cancelled one is taken in at once."""
    clip = here.inputs / "a.mp4"
    clip.write_bytes(b"some of it")
    here.rescan()
    here.cancel()
    (here.inputs / "b").write_bytes(b"something else altogether")
    (here.inputs / "b").rename(clip)
    here.rescan()
    assert len(here.app.journal.jobs()) == 2


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
    pauses = []
    while here.newest().waiting_on is Waiting.PAUSED:
        due = here.arrival.next_deadline()
        pauses.append(due - here.clock.now)
        here.until(due)
        here.settle()
    assert pauses == [2, 4, 8, 16, 32]
    assert here.newest().waiting_on is Waiting.INCOMPLETE
    assert "killed by SIGKILL" in here.newest().detail
    here.until(1000 + INCOMPLETE_PATIENCE + SETTLE)
    assert "killed by SIGKILL" in (here.inputs / "a.error.txt").read_text()


def test_cancelled_gone_clip_may_come_back(here):
    """A claimed clip was gone as its copy was to be made; it is cancelled, and somebody moves it back."""
    clip, away = here.inputs / "a.mp4", here.inputs.parent / "away.mp4"
    make_clip(away)
    (job,) = here.app.store.add([(b"a.mp4", b"")])
    here.arrival.enter(job)
    here.until(1000 + GONE_PATIENCE + SETTLE)
    assert here.gone == [b"a.mp4"]
    assert here.newest().state is JobState.CANCELLED
    away.rename(clip)
    here.rescan()
    assert here.newest().state is JobState.ARRIVING
    assert here.newest().id != job.id


def test_clip_moved_away_may_come_back(here):
    """A clip that is moved away while it settles, and back, is a new job."""
    clip, away = here.inputs / "a.mp4", here.inputs.parent / "away.mp4"
    make_clip(clip)
    here.rescan()
    job = here.newest()
    clip.rename(away)
    here.rescan()
    here.until(here.clock.now + GONE_PATIENCE + SETTLE)
    assert here.gone == [b"a.mp4"]
    assert here.newest().state is JobState.CANCELLED
    away.rename(clip)
    here.rescan()
    assert here.newest().id != job.id
    assert here.newest().state is JobState.ARRIVING


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
    pauses = []
    while here.newest().waiting_on is Waiting.PAUSED:
        due = here.arrival.next_deadline()
        pauses.append(due - here.clock.now)
        here.until(due)
        here.settle()
    assert pauses == [2, 4, 8, 16, 32]
    assert here.newest().waiting_on is Waiting.INCOMPLETE
