"""Clips on their way in, with time passed in: real files, a real journal, and a clock that stands until it is set."""

from __future__ import annotations

import errno
import subprocess
import time

import pytest
from support import made_containers as made
from support.clips import make_clip
from support.damaged import noisy, remuxed
from support.hand_clock import HandClock
from support.put import put
from support.stages import Mishaps, Others

from povwatch import container
from povwatch.arrival.inspections import Inspections
from povwatch.arrival.known_root import KnownRoot
from povwatch.arrival.stage import GONE_PATIENCE, INCOMPLETE_PATIENCE, LET_GO_QUIET, ArrivalStage
from povwatch.config.settings import Arrival
from povwatch.container import reader
from povwatch.core.job import JobState, Waiting
from povwatch.files.scan import scan
from povwatch.journal import Journal
from povwatch.journal.store import JobStore
from povwatch.spec.error_files import ErrorFiles
from povwatch.spec.inputs_folder import InputsFolder

SETTLE = 5.0


class Station:
    """The arrival stage, and what came of its clips."""

    def __init__(self, folder):
        self.inputs = folder / "inputs"
        self.inputs.mkdir()
        self.clock = HandClock()
        self.journal = Journal.open(folder / "state")
        self.mishaps, self.others = Mishaps(), Others(JobState.ARRIVING)
        self.store = JobStore(self.journal, self.clock)
        self.store.mishaps = self.mishaps
        self.inspections = Inspections(self.inputs, lambda: None, self.mishaps.of)
        self.error_files = ErrorFiles(InputsFolder(self.inputs), self.journal)
        self.open()

    def open(self, patience=INCOMPLETE_PATIENCE):
        """Begin, or begin anew as after a start."""
        self.arrival = ArrivalStage(
            Arrival(settle=f"{SETTLE}s"),
            store=self.store,
            root=KnownRoot(self.journal, self.inputs),
            inspections=self.inspections,
            error_files=self.error_files,
            patience=patience,
        )
        self.arrival.open_root()
        self.store.route((self.arrival, self.others))

    @property
    def arrived(self):
        return [job.path for job in self.others.entered]

    @property
    def gone(self):
        """The clips whose jobs ended since they are gone."""
        return [job.path for job in self.others.jobs_ended if job.detail == "the clip was deleted"]

    def rescan(self):
        listing = scan(self.inputs, Arrival())
        self.arrival.appeared(sorted(listing.clips.items()), self.clock.now)
        for path in [p for p in self.arrival.paths if p not in listing.clips]:
            self.arrival.absent(path, self.clock.now)
        self.arrival.hold_back(listing.held_back, self.clock.now)
        self.error_files.tidy(self.store.known, listing)

    def until(self, when):
        """Let time pass, from one deadline to the next."""
        while (due := self.arrival.next_deadline()) is not None and due <= when:
            self.clock.now = max(self.clock.now, due)
            self.arrival.tick(self.clock.now)
        self.clock.now = when
        assert self.mishaps.broken == []

    def inspected(self):
        """Let the inspection that is under way end."""
        deadline = time.monotonic() + 30
        while not self.inspections.idle:
            assert time.monotonic() < deadline
            self.inspections.settle()
            time.sleep(0.01)
        assert self.mishaps.broken == []

    def job(self, path=b"a.mp4"):
        return self.store.of_path(path)


@pytest.fixture
def station(tmp_path):
    made = Station(tmp_path)
    yield made
    made.inspections.close()
    made.journal.close()


def test_error_file_after_fifteen_minutes(station):
    """The error file of an incomplete clip comes after fifteen minutes, and not before."""
    clip = station.inputs / "a.mp4"
    data = make_clip(station.inputs.parent / "made.mp4").read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    error = station.inputs / "a.error.txt"
    station.rescan()
    station.until(1000 + INCOMPLETE_PATIENCE - 1)
    assert station.job().waiting_on is Waiting.INCOMPLETE
    assert not error.exists()
    station.until(1000 + INCOMPLETE_PATIENCE + SETTLE)
    assert "incomplete" in error.read_text()
    assert "%" in error.read_text()
    assert "Copy it again" in error.read_text()


def test_error_file_names_go_damaged(station):
    """The error file of a clip that decodes in part names go --damaged; that of another does not."""
    made = noisy(station.inputs.parent / "made.mp4")
    data = remuxed(made, station.inputs.parent / "front.mp4", movflags="faststart").read_bytes()
    (station.inputs / "a.mp4").write_bytes(data[: len(data) * 2 // 3])
    (station.inputs / "b.mp4").write_bytes(made.read_bytes()[: len(data) * 2 // 3])  # its index is missing
    station.rescan()
    station.until(1000 + INCOMPLETE_PATIENCE + 2 * SETTLE)
    assert "have what can be decoded run: povwatch go --damaged a.mp4" in (station.inputs / "a.error.txt").read_text()
    assert "--damaged" not in (station.inputs / "b.error.txt").read_text()


def test_more_bytes_start_the_patience_anew(station):
    clip = station.inputs / "a.mp4"
    data = make_clip(station.inputs.parent / "made.mp4").read_bytes()
    clip.write_bytes(data[: len(data) // 4])
    station.rescan()
    station.until(1800)
    clip.write_bytes(data[: len(data) // 2])
    station.rescan()
    station.until(1800 + INCOMPLETE_PATIENCE - 1)
    assert not (station.inputs / "a.error.txt").exists()
    station.until(1800 + INCOMPLETE_PATIENCE + SETTLE)
    assert (station.inputs / "a.error.txt").exists()


def test_patience_goes_on_over_a_restart(station):
    clip = station.inputs / "a.mp4"
    clip.touch()
    station.rescan()
    station.until(1000 + INCOMPLETE_PATIENCE - 60)
    station.open()  # a minute before it would be said
    station.arrival.recall(station.clock.now)
    station.rescan()
    station.until(1000 + INCOMPLETE_PATIENCE - 10)
    assert not (station.inputs / "a.error.txt").exists()
    station.until(1000 + INCOMPLETE_PATIENCE + 2 * SETTLE)
    assert (station.inputs / "a.error.txt").exists()


def test_patience_can_be_set(station):
    station.open(patience=60.0)
    (station.inputs / "a.mp4").touch()
    station.rescan()
    station.until(1000 + 60 + SETTLE)
    assert "empty" in (station.inputs / "a.error.txt").read_text()


def test_clip_has_one_timer(station):
    """A clip has one timer, however often it changes."""
    clip = station.inputs / "a.mp4"
    for size in range(1, 200):
        clip.write_bytes(bytes(size))
        station.rescan()
        station.clock.now += 0.01
    samples = []
    sample = station.arrival._sample
    station.arrival._sample = lambda *args: (samples.append(args), sample(*args))
    station.until(station.clock.now + SETTLE + 1)
    assert len(samples) <= 4
    assert station.job().waiting_on is Waiting.INCOMPLETE


def test_gone_clip_has_five_seconds(station):
    """A clip that is gone has five seconds to come back."""
    clip, aside = station.inputs / "a.mp4", station.inputs.parent / "aside.mp4"
    clip.touch()
    station.rescan()
    station.until(1010)
    clip.rename(aside)
    station.rescan()
    station.until(1010 + GONE_PATIENCE - 0.1)
    assert station.gone == []
    aside.rename(clip)
    station.until(1030)
    assert station.gone == []
    clip.unlink()
    station.rescan()
    station.until(1030 + GONE_PATIENCE)
    assert station.gone == [b"a.mp4"]


def test_waiting_clips_have_patience_due(station):
    """Clips that wait have nothing due but their patience, and count as not moving."""
    for number in range(50):
        (station.inputs / f"{number}.mp4").touch()
    station.rescan()
    station.until(1000 + 3 * SETTLE)
    assert station.arrival.next_deadline() == 1000 + INCOMPLETE_PATIENCE
    assert not station.arrival.moving


def test_later_partial_holds_it_back(station):
    """A partial file that comes after the last rescan holds a clip back."""
    make_clip(station.inputs / "a.mp4")
    station.rescan()
    (station.inputs / "a.mp4.crdownload").touch()
    station.until(1000 + SETTLE + 1)
    assert (station.job().state, station.job().waiting_on) == (JobState.ARRIVING, Waiting.INCOMPLETE)
    assert station.job().detail == "a.mp4.crdownload is still beside it"
    assert not station.arrival.moving
    (station.inputs / "a.mp4.crdownload").unlink()
    station.rescan()
    station.until(1000 + 3 * SETTLE)
    station.inspected()
    assert station.arrived == [b"a.mp4"]


def test_older_partial_is_a_left_over(station):
    """A partial file that is older than the clip does not hold it back."""
    (station.inputs / "a.mp4.part").touch()
    make_clip(station.inputs / "a.mp4")
    station.rescan()
    station.until(1000 + SETTLE + 1)
    station.inspected()
    assert station.arrived == [b"a.mp4"]


def test_partial_holds_it_not_moving(station):
    """A clip that a partial file holds back counts as not moving until that is gone."""
    make_clip(station.inputs / "a.mp4")
    (station.inputs / "a.mp4.part").touch()
    station.rescan()
    station.until(1000 + 2 * SETTLE)
    assert station.job().waiting_on is Waiting.INCOMPLETE
    assert not station.arrival.moving
    (station.inputs / "a.mp4.part").unlink()
    station.rescan()
    assert station.arrival.moving


def test_partial_for_long_is_told(station):
    """A partial file that holds a clip back for long is told in the error file."""
    make_clip(station.inputs / "a.mp4")
    (station.inputs / "a.mp4.part").touch()
    station.rescan()
    station.until(1000 + INCOMPLETE_PATIENCE - 1)
    error = station.inputs / "a.error.txt"
    assert not error.exists()
    station.until(1000 + INCOMPLETE_PATIENCE + 2 * SETTLE)
    assert "a.mp4.part is still beside it" in error.read_text()
    assert "delete a.mp4.part" in error.read_text()
    (station.inputs / "a.mp4.part").unlink()
    station.rescan()
    station.until(1000 + INCOMPLETE_PATIENCE + 4 * SETTLE)
    station.inspected()
    assert station.arrived == [b"a.mp4"]
    assert not error.exists()


def test_fault_of_ours_costs_one_clip(station, monkeypatch):
    """An exception in one clip's look is reported, and other clips go on."""
    (station.inputs / "a.mp4").touch()
    (station.inputs / "b.mp4").touch()
    station.rescan()
    real = station.arrival._files.sample

    def sample(path):
        if path == b"a.mp4":
            raise ZeroDivisionError
        return real(path)

    monkeypatch.setattr(station.arrival._files, "sample", sample)
    station.clock.now += SETTLE
    station.arrival.tick(station.clock.now)
    assert [type(error) for error in station.mishaps.broken] == [ZeroDivisionError]
    station.mishaps.broken.clear()
    station.arrival.ended(station.job())
    station.until(1000 + 4 * SETTLE)
    assert station.job(b"b.mp4").waiting_on is Waiting.INCOMPLETE


def test_gone_clips_at_the_start(station):
    """Jobs of clips that are gone at the start are withdrawn after the patience."""
    (station.inputs / "a.mp4").touch()
    station.rescan()
    (station.inputs / "a.mp4").unlink()
    station.open()
    station.arrival.recall(station.clock.now)
    station.rescan()
    station.until(1000 + GONE_PATIENCE + SETTLE)
    assert station.gone == [b"a.mp4"]


def test_error_file_goes_with_its_clip(station):
    """The error file of a rejected clip is removed with it, and not before."""
    (station.inputs / "a.mp4").write_text("no video\n" * 20)
    station.rescan()
    station.until(1000 + 2 * SETTLE)
    assert station.job().state is JobState.REJECTED
    assert (station.inputs / "a.error.txt").exists()
    station.rescan()
    assert (station.inputs / "a.error.txt").exists()
    (station.inputs / "a.mp4").unlink()
    station.rescan()
    assert not (station.inputs / "a.error.txt").exists()


def test_taken_over_error_file_stays(station):
    """An error file that another clip has taken over stays."""
    (station.inputs / "a.mp4").write_text("no video\n" * 20)
    station.rescan()
    station.until(1000 + 2 * SETTLE)
    (station.inputs / "a.mp4").unlink()
    station.journal.give_base_back(b"a.mp4")
    (station.inputs / "a.mov").write_text("no video either\n" * 20)
    station.rescan()
    station.until(1000 + 5 * SETTLE)
    assert station.job(b"a.mov").base == b"a"
    station.rescan()
    assert "a.mov" in (station.inputs / "a.error.txt").read_text()


def test_cancelled_copy_is_not_taken_again(station):
    """A copy that was cancelled is not taken in again while it grows, only once it is quiet."""

    def grow():
        with (station.inputs / "a.mp4").open("ab") as file:
            file.write(b"more")
        station.rescan()
        return len(station.journal.jobs())

    assert grow() == 1
    job = station.job()
    job = put(
        station.store,
        job,
        "cancelled",
        said={"why": "-"},
        state=JobState.CANCELLED,
        source_stat=station.arrival.signature(job),
    )
    station.arrival.ended(job)
    for _ in range(5):
        station.clock.now += 30
        assert grow() == 1
    station.clock.now += LET_GO_QUIET
    assert grow() == 2


def test_another_file_is_taken_at_once(station):
    """Another file in the place of a cancelled one is taken in at once."""
    clip = station.inputs / "a.mp4"
    clip.write_bytes(b"some of it")
    station.rescan()
    job = station.job()
    job = put(
        station.store,
        job,
        "cancelled",
        said={"why": "-"},
        state=JobState.CANCELLED,
        source_stat=station.arrival.signature(job),
    )
    station.arrival.ended(job)
    (station.inputs / "b").write_bytes(b"something else altogether")
    (station.inputs / "b").rename(clip)
    station.rescan()
    assert len(station.journal.jobs()) == 2


def test_refused_inspection_is_tried_again(station, monkeypatch):
    """A clip that the machine does not let us inspect waits with growing pauses, without an error file."""

    def refuse(*_, **__):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    make_clip(station.inputs / "a.mp4")
    station.rescan()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        station.until(1000 + SETTLE + 1)
        station.inspected()
        tried = []
        for _ in range(4):
            assert (station.job().state, station.job().waiting_on) == (JobState.ARRIVING, Waiting.PAUSED)
            assert "temporarily unavailable" in station.job().detail
            assert station.arrival.moving is (len(tried) < 2)
            due = station.arrival.next_deadline()
            tried.append(due - station.clock.now)
            station.until(due)
            station.inspected()
    assert tried == [2, 4, 8, 16]
    assert station.arrived == []
    station.until(station.arrival.next_deadline())
    station.inspected()
    assert station.arrived == [b"a.mp4"]
    assert not (station.inputs / "a.error.txt").exists()


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


def test_killed_inspection_is_tried_again(station, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", killing(2))
    make_clip(station.inputs / "a.mp4")
    station.rescan()
    station.until(1000 + SETTLE + 1)
    station.inspected()
    assert (station.job().state, station.job().waiting_on) == (JobState.ARRIVING, Waiting.PAUSED)
    assert "killed by SIGKILL" in station.job().detail
    for _ in range(2):
        station.until(station.arrival.next_deadline())
        station.inspected()
    assert station.arrived == [b"a.mp4"]


def test_inspection_killed_again_and_again(station, monkeypatch):
    """A clip whose inspection is always killed waits for a change, and its error file says so."""
    monkeypatch.setattr(subprocess, "Popen", killing(100))
    make_clip(station.inputs / "a.mp4")
    station.rescan()
    station.until(1000 + SETTLE + 1)
    station.inspected()
    pauses = []
    while station.job().waiting_on is Waiting.PAUSED:
        due = station.arrival.next_deadline()
        pauses.append(due - station.clock.now)
        station.until(due)
        station.inspected()
    assert pauses == [2, 4, 8, 16, 32]
    assert station.job().waiting_on is Waiting.INCOMPLETE
    assert "killed by SIGKILL" in station.job().detail
    station.until(1000 + INCOMPLETE_PATIENCE + SETTLE)
    assert "killed by SIGKILL" in (station.inputs / "a.error.txt").read_text()


def test_cancelled_gone_clip_may_come_back(station):
    """A claimed clip was gone as its copy was to be made; it is cancelled, and somebody moves it back."""
    clip, away = station.inputs / "a.mp4", station.inputs.parent / "away.mp4"
    make_clip(away)
    (job,) = station.store.add([(b"a.mp4", b"")])
    station.arrival.enter(job)
    station.until(1000 + GONE_PATIENCE + SETTLE)
    assert station.gone == [b"a.mp4"]
    assert station.job().state is JobState.CANCELLED
    away.rename(clip)
    station.rescan()
    assert station.job().state is JobState.ARRIVING
    assert station.job().id != job.id


def test_clip_moved_away_may_come_back(station):
    """A clip that is moved away while it settles, and back, is a new job."""
    clip, away = station.inputs / "a.mp4", station.inputs.parent / "away.mp4"
    make_clip(clip)
    station.rescan()
    job = station.job()
    clip.rename(away)
    station.rescan()
    station.until(station.clock.now + GONE_PATIENCE + SETTLE)
    assert station.gone == [b"a.mp4"]
    assert station.job().state is JobState.CANCELLED
    away.rename(clip)
    station.rescan()
    assert station.job().id != job.id
    assert station.job().state is JobState.ARRIVING


@pytest.fixture
def long(station, monkeypatch):
    """A station to which every index is too long for the loop; what it says of clips that come in."""
    said = []

    def say(event, job, **more):
        if event == "arriving":
            said.append((event, job.path, more["percent"]))

    monkeypatch.setattr(reader, "BRIEF_TABLES", 0)
    monkeypatch.setattr("povwatch.arrival.stage.say", say)

    class Brief(reader.Reader):
        def __init__(self, *args, brief=False, **options):
            assert brief, "the loop looks for as long as a file likes"
            super().__init__(*args, brief=brief, **options)

    monkeypatch.setattr(container, "Reader", Brief)
    return said


def test_long_index_by_way_of_a_child(station, long):
    """A clip with a long index arrives by way of a child, and counts as moving."""
    make_clip(station.inputs / "a.mp4")
    station.rescan()
    station.until(1000 + SETTLE + 1)
    assert station.arrival.moving
    assert station.arrived == []
    station.inspected()
    assert station.arrived == [b"a.mp4"]
    assert long == []


def test_long_index_tells_its_percentage(station, long):
    """A clip with a long index says how much of it has come, once for each tenth."""
    data = made.video(size=(160, 120), movflags="faststart")
    clip = station.inputs / "a.mp4"
    for percent in (50, 55, 80):
        clip.write_bytes(data[: len(data) * percent // 100 + 1])
        station.rescan()
        station.inspected()
        station.until(station.clock.now + SETTLE / 2)
        station.inspected()
    assert long == [("arriving", b"a.mp4", "50 %"), ("arriving", b"a.mp4", "80 %")]
    station.until(station.clock.now + SETTLE)
    station.inspected()
    assert station.job().waiting_on is Waiting.INCOMPLETE
    assert station.job().detail == "It is cut off. About 80 % of it has arrived."
    clip.write_bytes(data)
    station.rescan()
    station.until(station.clock.now + SETTLE + 1)
    station.inspected()
    assert station.arrived == [b"a.mp4"]


def test_childs_word_on_a_changed_clip(station, long):
    """What a child says of a clip that has changed meanwhile counts for nothing."""
    clip = station.inputs / "a.mp4"
    data = make_clip(clip).read_bytes()
    clip.write_bytes(data[: len(data) // 2])
    station.rescan()
    station.until(1000 + SETTLE + 1)
    clip.write_bytes(data)
    station.rescan()
    station.inspected()
    assert station.job().waiting_on is Waiting.SETTLING
    station.until(station.clock.now + 2 * SETTLE)
    station.inspected()
    assert station.arrived == [b"a.mp4"]


def test_job_let_go_while_a_child_reads(station, long):
    """A job that ends while a child reads its index is forgotten."""
    make_clip(station.inputs / "a.mp4")
    station.rescan()
    station.until(1000 + SETTLE + 1)
    job = station.job()
    job = put(station.store, job, "cancelled", said={"why": "-"}, state=JobState.CANCELLED, waiting_on=None)
    station.arrival.ended(job)
    station.inspected()
    assert (station.job().state, station.arrived) == (JobState.CANCELLED, [])


def test_long_index_and_killed_inspection(station, long, monkeypatch):
    """A child that reads the index and gets through takes nothing from how often the next one was killed."""
    start = subprocess.Popen

    def popen(args, *more, **options):
        process = start(args, *more, **options)
        if args[-1] == "inspect":
            process.kill()
        return process

    monkeypatch.setattr(subprocess, "Popen", popen)
    make_clip(station.inputs / "a.mp4")
    station.rescan()
    station.until(1000 + SETTLE + 1)
    station.inspected()
    pauses = []
    while station.job().waiting_on is Waiting.PAUSED:
        due = station.arrival.next_deadline()
        pauses.append(due - station.clock.now)
        station.until(due)
        station.inspected()
    assert pauses == [2, 4, 8, 16, 32]
    assert station.job().waiting_on is Waiting.INCOMPLETE
