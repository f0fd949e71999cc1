"""From a generated artifact to done, where the machine does not allow it: real journal, publisher and clip."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from structlog.testing import capture_logs
from support.beeps import beeping
from support.clips import make_clip
from support.hand_clock import HandClock
from support.put import put
from support.stages import Mishaps, Others

from povwatch.attempt import attempt as workpiece
from povwatch.attempt.attempt import Attempt
from povwatch.config.settings import Config, Paths
from povwatch.core import machine_faults, retry
from povwatch.core.background import Background
from povwatch.core.errors import CheckFailed, DiskFull, FinishFailed, OutputsAway, OutputsNotWritable, WriteFailed
from povwatch.core.job import JobState, Waiting
from povwatch.files import fs, private
from povwatch.journal import Journal, open_reader
from povwatch.journal.store import JobStore
from povwatch.media.errors import MediaError, NoProcess
from povwatch.media.run import call
from povwatch.ops.report.gather import gather
from povwatch.ops.report.table import table
from povwatch.publish import Publisher
from povwatch.publish import files as staged
from povwatch.results import stage as module
from povwatch.results.stage import ResultsStage
from povwatch.spec import parse
from povwatch.spec.first import default_spec
from povwatch.spec.prompts import load_templates


class FailedAttempts:
    def __init__(self):
        self.seen, self.held = [], []

    def after(self, job, error, **_):
        self.seen.append((job.id, type(error)))

    def orphaned(self, job):
        self.seen.append((job.id, "orphaned"))

    def keep(self, job, attempt, error):
        self.seen.append((job.id, "kept", type(error), attempt.unfinished))

    def cancel(self, job, why):
        self.seen.append((job.id, why))

    def hold_queue(self, error):
        self.held.append(type(error))


class SourceArchive:
    @staticmethod
    def move(_):
        return


class Bench:
    """A job that is `checking`, with an artifact that is a copy of its working copy."""

    def __init__(self, folder):
        self.paths = Paths(inputs=folder / "inputs", outputs=folder / "outputs", state=folder / "state")
        for path in (self.paths.inputs, self.paths.outputs):
            path.mkdir()
        self.clock, self.failed_attempts = HandClock(), FailedAttempts()
        self.mishaps, self.others = Mishaps(), Others(JobState.CHECKING, JobState.PUBLISHING)
        self.journal = Journal.open(self.paths.state)
        self.store = JobStore(self.journal, self.clock)
        self.store.mishaps = self.mishaps
        self.background = Background(lambda: None, threads=1, broken=self.mishaps.of)
        self.lacks, self.away = None, False
        publisher = Publisher(self.paths.outputs)
        self.finisher = ResultsStage(
            Config(paths=self.paths),
            store=self.store,
            publisher=publisher,
            background=self.background,
            failed_attempts=self.failed_attempts,
            error_files=SimpleNamespace(clear=lambda _: None),
            archive=SourceArchive,
            free_space=SimpleNamespace(lacking=lambda: self.lacks),
            outputs_watch=SimpleNamespace(refuses=lambda _: self.away, came_back=lambda: False),
            hooks=SimpleNamespace(after=lambda _: ""),
        )
        clip = make_clip(self.paths.inputs / "a.mp4")
        (job,) = self.store.add([(b"a.mp4", b"")])
        for state in (JobState.GRACE, JobState.QUEUED):
            job = put(self.store, job, "waiting", state=state)
        room = publisher.staging.make(job.id, "run")
        info = call("inspect", {"path": str(clip), "kind": "mp4"}, timeout=60)
        text = default_spec(b"a.mp4", b"a", load_templates(None)["driving"], controls={"edge": 1.0}, seed=0, guidance=3)
        spec = parse(text, clip_name=b"a.mp4", file="").model_dump(mode="json", by_alias=True)
        self.attempt = Attempt(str(room), info, spec, capabilities={"real": False})
        self.attempt.source = str(clip)
        args = {"source": str(clip), "info": info, "out_path": str(room / "working.mp4")}
        self.attempt.prepared = call("prepare", args, timeout=60)
        shutil.copy(room / "working.mp4", room / "generated.mp4")
        self.attempt.artifact = {"path": str(room / "generated.mp4")}
        job = put(self.store, job, "started", state=JobState.RUNNING, run_id="run", attempts=1, spec_hash="s")
        self.job = put(self.store, job, "generated", state=JobState.CHECKING, artifact=self.attempt.to_json())

    def settle(self):
        deadline = time.monotonic() + 60
        while not self.background.idle:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            self.background.settle()
        assert self.mishaps.broken == []

    def now(self):
        return self.store.job(self.job.id)


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    made.background.close()
    made.journal.close()


def full(_, *_args):
    raise DiskFull("No space left.", "Free some.")


def test_full_disk_while_finishing(bench, monkeypatch):
    """A full disk while a result is finished costs no second generation."""
    with monkeypatch.context() as patch:
        patch.setattr(Attempt, "finish", full)
        bench.finisher.check(bench.job, bench.attempt)
        bench.settle()
        assert (bench.now().state, bench.now().waiting_on) == (JobState.CHECKING, Waiting.DISK_FULL)
        bench.clock.now += module.AGAIN - 1
        bench.finisher.tick(bench.clock.now)
        assert bench.background.idle
    bench.clock.now += 1
    bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert bench.failed_attempts.seen == []
    assert (bench.now().state, bench.now().waiting_on) == (JobState.DONE, None)
    assert [e.event for e in bench.journal.events(bench.job.id)].count("started") == 1
    assert (bench.paths.outputs / "a" / "a_preview.mp4").exists()


REFUSALS = [errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.EIO, errno.ESTALE]
"""One of each cause; test_machine_faults.py has them all."""


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("step", ["finish", "seal", "publish"])
def test_refusal_costs_no_generation(bench, monkeypatch, step, code):
    """What the machine refuses is tried again, and costs no second generation."""

    def refused(*_, **__):
        raise OSError(code, os.strerror(code))

    places = {"finish": (private, "enter"), "seal": (staged, "settle"), "publish": (fs, "rename_noreplace")}
    with monkeypatch.context() as patch:
        patch.setattr(*places[step], refused)
        bench.finisher.check(bench.job, bench.attempt)
        bench.settle()
        assert bench.now().state is (JobState.PUBLISHING if step == "publish" else JobState.CHECKING)
        assert bench.now().waiting_on is (Waiting.DISK_FULL if code == errno.ENOSPC else Waiting.PAUSED)
        assert os.strerror(code) in bench.now().detail
        assert bench.failed_attempts.held == [OutputsNotWritable] * (code == errno.EROFS)
    bench.finisher._hurry()
    bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert bench.failed_attempts.seen == []
    assert (bench.now().state, bench.now().attempts) == (JobState.DONE, 1)


@pytest.mark.parametrize("step", ["finish", "publish"])
def test_pauses_are_the_tables(bench, monkeypatch, step):
    """The pauses are those of machine_faults."""

    def refused(*_, **__):
        raise NoProcess("No process could be started for finish (Too many open files).", "Raise its limit.")

    monkeypatch.setattr(*{"finish": (Attempt, "finish"), "publish": (Publisher, "publish")}[step], refused)
    bench.finisher.check(bench.job, bench.attempt)
    pauses = []
    for _ in range(7):
        bench.settle()
        pauses.append(bench.finisher.next_deadline() - bench.clock.now)
        bench.clock.now = bench.finisher.next_deadline()
        bench.finisher.tick(bench.clock.now)
    assert pauses == [machine_faults.MEANS_AGAIN.pause(n) for n in range(1, 8)]


def test_unreadable_work_is_made_again(bench, monkeypatch):
    """What a disk does not give back is generated again after three tries."""

    def fails(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Attempt, "finish", fails)
    bench.finisher.check(bench.job, bench.attempt)
    for _ in range(module.READS_MAX):
        bench.settle()
        assert bench.failed_attempts.seen == []
        bench.finisher._hurry()
        bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert bench.failed_attempts.seen == [(bench.job.id, WriteFailed)]
    assert retry.decide(WriteFailed("."), attempts=3, limit=3, now=0.0).kind is retry.Kind.RELEASE


def test_below_the_reserve(bench, monkeypatch):
    """Below the reserve nothing is finished, it is told once, and it goes on by itself."""
    bench.lacks = DiskFull("There is less room left than disk.reserve.", "Make room.")
    with monkeypatch.context() as patch, capture_logs() as said:
        patch.setattr(Attempt, "finish", lambda *_: pytest.fail("it takes as much room as the result"))
        bench.finisher.check(bench.job, bench.attempt)
        for _ in range(5):
            bench.settle()
            assert (bench.now().state, bench.now().waiting_on) == (JobState.CHECKING, Waiting.DISK_FULL)
            bench.clock.now += module.LOOK_EVERY
            bench.finisher.tick(bench.clock.now)
    assert [line["event"] for line in said] == ["check-later"]  # once, not every time that it is tried
    bench.lacks = None
    bench.clock.now += module.LOOK_EVERY
    bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert (bench.now().state, bench.now().waiting_on, bench.now().attempts) == (JobState.DONE, None, 1)
    assert bench.failed_attempts.seen == []


def test_full_disk_while_publishing(bench, monkeypatch):
    """A disk that is full while publishing is what the job waits on."""
    with monkeypatch.context() as patch, capture_logs() as said:
        patch.setattr(Publisher, "publish", full)
        bench.finisher.check(bench.job, bench.attempt)
        bench.settle()
        bench.clock.now += module.AGAIN
        bench.finisher.tick(bench.clock.now)
        bench.settle()
        assert (bench.now().state, bench.now().waiting_on) == (JobState.PUBLISHING, Waiting.DISK_FULL)
    assert [line["event"] for line in said if "later" in line["event"]] == ["publish-later"]
    bench.clock.now += module.AGAIN
    bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert bench.now().state is JobState.DONE


@pytest.mark.parametrize("constant", [True, False])
def test_uneven_result_has_no_one_rate(bench, constant):
    """A result with a variable rate is not given one."""
    bench.attempt.prepared |= {"constant": constant}
    with capture_logs() as lines:
        bench.finisher.check(bench.job, bench.attempt)
        bench.settle()
    (checked,) = [line for line in lines if line["event"] == "checked"]
    pace = "30 frames a second" if constant else "about 30 frames a second, not evenly spaced"
    assert checked["sentence"].format_map(checked).startswith(f"b'a.mp4': checked: 12 frames, 96x64, {pace}, 0.4 s")


def test_waiting_result_can_be_cancelled(bench, monkeypatch):
    monkeypatch.setattr(Attempt, "finish", full)
    bench.finisher.check(bench.job, bench.attempt)
    bench.settle()
    bench.finisher.cancel(bench.now(), "enough")
    assert bench.failed_attempts.seen == [(bench.job.id, "enough")]
    assert bench.finisher.next_deadline() is None


def test_wrong_artifact_is_the_jobs_fault(bench):
    """An artifact that is not what was asked for fails the attempt."""
    make_clip(bench.paths.outputs.parent / "shorter.mp4", frames=5)
    shutil.copy(bench.paths.outputs.parent / "shorter.mp4", bench.attempt.artifact["path"])
    bench.finisher.check(bench.job, bench.attempt)
    bench.settle()
    assert bench.failed_attempts.seen == [(bench.job.id, CheckFailed)]


def test_stop_while_reading(bench, monkeypatch):
    """A stop while the result is read leaves it for the next start."""
    with monkeypatch.context() as patch:
        finish = Attempt.finish

        def and_stop(attempt, told, cancelled):
            found = finish(attempt, told, cancelled)
            cancelled.set()
            return found

        patch.setattr(Attempt, "finish", and_stop)
        bench.finisher.check(bench.job, bench.attempt)
        bench.settle()
    assert bench.now().state is JobState.CHECKING
    assert bench.failed_attempts.seen == []
    bench.finisher.check(bench.now(), bench.attempt)
    bench.settle()
    assert bench.now().state is JobState.DONE


def test_measurements_are_kept(bench):
    """What was measured is kept for the report."""
    bench.attempt.seconds["generate"] = 200.0
    bench.attempt.artifact["peak_memory_bytes"] = 13_700_000_000
    bench.finisher.check(bench.job, bench.attempt)
    bench.settle()
    seconds = json.loads(bench.now().artifact)["seconds"]
    assert {"generate", "finish", "check"} <= set(seconds)
    screen = Console(width=200, record=True, file=io.StringIO())
    with open_reader(bench.paths.state) as reader:
        screen.print(table(gather(reader, 1e9)))
    row = next(line for line in screen.export_text().splitlines() if "a.mp4" in line)
    assert "14 GB" in row
    assert "3 min 20 s" in row


def test_taken_folder_is_waited_for(bench):
    """Work whose folder was swapped waits for it, and is not generated again."""
    rooms = bench.paths.outputs / ".povwatch"
    rooms.rename(bench.paths.outputs / "away")
    rooms.mkdir()
    rooms.chmod(0o777)
    bench.finisher.check(bench.job, bench.attempt)
    bench.settle()
    assert (bench.now().state, bench.now().waiting_on) == (JobState.CHECKING, Waiting.PAUSED)
    assert f"{rooms} may be written by others" in bench.now().detail
    rooms.rmdir()
    (bench.paths.outputs / "away").rename(rooms)
    bench.clock.now += module.AGAIN
    bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert bench.failed_attempts.seen == []
    assert bench.now().state is JobState.DONE


@pytest.mark.parametrize("taken", [True, False])
def test_taken_or_gone_at_a_start(bench, taken):
    """At a start, work in a swapped folder is waited for, and work that is gone is not."""
    rooms = bench.paths.outputs / ".povwatch"
    rooms.rename(bench.paths.outputs / "away")
    if taken:
        rooms.mkdir()
        rooms.chmod(0o777)
    said = bench.finisher.resume(bench.job, crashed=False)
    bench.settle()
    assert said == ("checked again" if taken else "to run again")
    assert bench.failed_attempts.seen == ([] if taken else [(bench.job.id, "orphaned")])
    assert bench.now().state is JobState.CHECKING


def spoken(lines, event):
    return [line["sentence"].format_map(line) for line in lines if line["event"] == event]


@pytest.mark.parametrize("what", [".povwatch", "."])
def test_removed_work_is_made_again(bench, what):
    """outputs/ is there and is the known folder: nothing says that its disk is away."""
    shutil.rmtree(bench.paths.outputs / what)
    bench.paths.outputs.mkdir(exist_ok=True)
    with capture_logs() as lines:
        bench.finisher.check(bench.job, bench.attempt)
        bench.settle()
        # Not `paused`, at which --once gives up: it goes on by itself at a time that is known.
        assert (bench.now().state, bench.now().waiting_on) == (JobState.CHECKING, Waiting.RETRY_AT)
        begun = bench.clock.now
        while bench.clock.now < begun + module.BACK_WITHIN:
            assert bench.failed_attempts.seen == []
            bench.clock.now = bench.finisher.next_deadline()
            bench.finisher.tick(bench.clock.now)
            bench.settle()
    assert bench.clock.now == begun + module.BACK_WITHIN
    assert bench.failed_attempts.seen == [(bench.job.id, OutputsAway)]
    (said,) = spoken(lines, "check-later")
    assert "kept" not in said
    assert f"{bench.attempt.folder} is not there" in said
    assert "generated again" in said


def test_work_back_soon_is_used(bench):
    rooms = bench.paths.outputs / ".povwatch"
    rooms.rename(bench.paths.outputs / "away")
    bench.finisher.check(bench.job, bench.attempt)
    bench.settle()
    (bench.paths.outputs / "away").rename(rooms)
    bench.clock.now += module.BACK_WITHIN - 1
    bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert (bench.now().state, bench.failed_attempts.seen) == (JobState.DONE, [])


def test_work_away_with_its_disk(bench):
    """Work that is away with its disk is waited for, and used when it is back."""
    mounted, bench.away = bench.paths.outputs, True
    mounted.rename(mounted.with_name("unmounted"))
    with capture_logs() as lines:
        bench.finisher.check(bench.job, bench.attempt)
        for _ in range(20):
            bench.settle()
            bench.clock.now = bench.finisher.next_deadline()
            bench.finisher.tick(bench.clock.now)
        bench.settle()
    assert bench.failed_attempts.seen == []
    (said,) = spoken(lines, "check-later")
    assert "kept" not in said
    mounted.mkdir()  # the mount point, a moment before the disk: the patience begins then
    bench.away = False
    bench.finisher._hurry()
    bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert bench.failed_attempts.seen == []
    mounted.rmdir()
    mounted.with_name("unmounted").rename(mounted)
    bench.clock.now = bench.finisher.next_deadline()
    bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert (bench.now().state, bench.failed_attempts.seen) == (JobState.DONE, [])


def test_gone_promise_is_not_called_safe(bench, monkeypatch):
    """A result that went away with its promise is not called safe."""
    with monkeypatch.context() as patch, capture_logs() as lines:
        keep = Publisher.publish
        patch.setattr(
            Publisher, "publish", lambda *given: (shutil.rmtree(bench.paths.outputs / ".povwatch"), keep(*given))
        )
        bench.finisher.check(bench.job, bench.attempt)
        bench.settle()
    (said,) = spoken(lines, "publish-later")
    assert "is gone, and with it a result" in said
    assert "Nothing is lost" not in said


def broken_child(op):
    """media.run.call, of which one operation fails as by a bug of ours."""

    def fails(asked, *args, **rest):
        if asked == op:
            raise MediaError(f"{op} failed: ValueError: what nobody foresaw")
        return call(asked, *args, **rest)

    return fails


@pytest.mark.parametrize("op", ["finish", "check"])
def test_failed_finishing_is_kept(bench, monkeypatch, op):
    """A failure of finishing spends no GPU time: the artifact by itself is what was asked for."""
    if op == "check":  # the judge of the artifact is the same operation: it fails for the finished file alone
        monkeypatch.setattr(workpiece, "call", lambda asked, args, **rest: (
            broken_child(op) if args.get("artifact") == "final.mp4" else call)(asked, args, **rest))  # fmt: skip
    else:
        monkeypatch.setattr(workpiece, "call", broken_child(op))
    bench.finisher.check(bench.job, bench.attempt)
    for failures in (1, 2):
        bench.settle()
        assert (bench.now().state, bench.now().waiting_on) == (JobState.CHECKING, Waiting.RETRY_AT)
        assert Attempt.from_json(bench.now().artifact).unfinished == failures, "a restart goes on counting"
        bench.finisher.tick(bench.clock.now)
        assert bench.background.idle, "there is a pause"
        bench.clock.now += retry.backoff(failures)
        bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert bench.failed_attempts.seen == [(bench.job.id, "kept", FinishFailed, 3)]
    events = [e.event for e in bench.journal.events(bench.job.id)]
    assert (events.count("started"), events.count("finish-retry")) == (1, 2)


def test_retry_ends_a_pause(bench, monkeypatch):
    """A pause ends when somebody asks for it."""
    assert not bench.finisher.hasten(bench.job), "it waits for nothing"
    with monkeypatch.context() as patch:
        patch.setattr(workpiece, "call", broken_child("finish"))
        bench.finisher.check(bench.job, bench.attempt)
        bench.settle()
    bench.finisher.tick(bench.clock.now)
    assert bench.background.idle, "there is a pause"
    assert bench.finisher.hasten(bench.job)
    bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert (bench.now().state, bench.failed_attempts.seen) == (JobState.DONE, [])


def test_finishing_that_fails_once(bench, monkeypatch):
    """Finishing that fails once costs nothing."""
    with monkeypatch.context() as patch:
        patch.setattr(workpiece, "call", broken_child("finish"))
        bench.finisher.check(bench.job, bench.attempt)
        bench.settle()
    bench.clock.now += retry.backoff(1)
    bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert (bench.now().state, bench.now().attempts, bench.failed_attempts.seen) == (JobState.DONE, 1, [])


@pytest.mark.parametrize("how", ["cut", "fewer", "text"])
def test_engines_fault_is_another_attempt(bench, how):
    """What the engine did wrong makes another attempt."""
    made = Path(bench.attempt.artifact["path"])
    if how == "cut":
        made.write_bytes(made.read_bytes()[: made.stat().st_size // 2])
    elif how == "fewer":
        make_clip(made, frames=5)
    else:
        made.write_text("no video")
    bench.finisher.check(bench.job, bench.attempt)
    bench.settle()
    assert bench.failed_attempts.seen == [(bench.job.id, CheckFailed)]


def test_last_try_is_without_the_sound(bench, monkeypatch):
    """It was proven before; should it be at fault all the same, it does not cost the result."""
    clip = beeping(bench.paths.inputs / "a.mp4", "aac")
    room = Path(bench.attempt.folder)
    info = call("inspect", {"path": str(clip), "kind": "mp4"}, timeout=60)
    args = {"source": str(clip), "info": info, "out_path": str(room / "working.mp4")}
    bench.attempt.info, bench.attempt.prepared = info, call("prepare", args, timeout=60)
    shutil.copy(room / "working.mp4", room / "generated.mp4")

    def fails(asked, given, **rest):
        if asked == "finish" and given["sound"]:
            raise MediaError("finish died of SIGSEGV")
        return call(asked, given, **rest)

    monkeypatch.setattr(workpiece, "call", fails)
    bench.finisher.check(bench.job, bench.attempt)
    for failures in (1, 2):
        bench.settle()
        bench.clock.now += retry.backoff(failures)
        bench.finisher.tick(bench.clock.now)
    bench.settle()
    assert (bench.now().state, bench.failed_attempts.seen) == (JobState.DONE, [])
    (said,) = [e for e in bench.journal.events(bench.job.id) if e.event == "sound-left-out"]
    assert "SIGSEGV" in said.data["problem"]
