"""From a generated artifact to done, where the machine does not allow it: real journal, publisher and clip."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from rich.console import Console
from structlog.testing import capture_logs
from support.beeps import beeping
from support.built import Built
from support.clips import make_clip

from povwatch.attempt import attempt as workpiece
from povwatch.attempt.attempt import Attempt
from povwatch.attempt.finishing import ScoringOptions
from povwatch.config.settings import Config, Quality, SpecDefaults
from povwatch.core import machine_faults, retry
from povwatch.core.changes import Generated
from povwatch.core.errors import ConfigError, DiskFull
from povwatch.core.job import JobState, Waiting
from povwatch.files import fs, private
from povwatch.journal import open_reader
from povwatch.media.errors import MediaError, MediaTooSlow, NoProcess
from povwatch.media.run import call
from povwatch.ops.report.gather import gather
from povwatch.ops.report.table import table
from povwatch.publish import Publisher
from povwatch.publish import files as staged
from povwatch.results import sealing
from povwatch.results import stage as module
from povwatch.spec.first import first_spec
from povwatch.spec.parse import parse
from povwatch.spec.prompts import load_templates
from povwatch.spec.variables import Facts

pytestmark = pytest.mark.usefixtures("forked_media_children")

FATES = {"retry", "released", "orphaned", "failed", "cancelled"}
"""The events of an attempt that did not succeed."""


class Generating(Built):
    """A clip whose worker is about to have generated; the artifact is a copy of its working copy."""

    def __init__(self, folder):
        super().__init__(folder)
        clip = make_clip(self.inputs / "a.mp4")
        (job,) = self.app.store.add([(b"a.mp4", b"")])
        for state in (JobState.GRACE, JobState.QUEUED):
            self.move(job, "waiting", state=state)
        self.move(job, "started", state=JobState.RUNNING, run_id="run", attempts=1, spec_hash="s")
        room = self.app.publisher.staging.make(job.id, "run")
        text = first_spec(SpecDefaults(), load_templates(None)["driving"], b"a", Facts(b"a.mp4", ""))
        spec = parse(text, clip_name=b"a.mp4", file="").model_dump(mode="json", by_alias=True)
        self.attempt = Attempt(str(room), {}, spec, capabilities={"real": False})
        self.attempt.artifact = {"path": str(room / "generated.mp4")}
        self.prepare(clip)

    def prepare(self, clip):
        room = Path(self.attempt.folder)
        info = call("inspect", {"path": str(clip), "kind": "mp4"}, timeout=60)
        args = {"source": str(clip), "info": info, "out_path": str(room / "working.mp4")}
        self.attempt.source, self.attempt.info = str(clip), info
        self.attempt.prepared = call("prepare", args, timeout=60)
        shutil.copy(room / "working.mp4", room / "generated.mp4")

    def generated(self):
        """Let the worker say so: the stage begins."""
        found = Generated(artifact=self.attempt.to_json(), took="1 s", gpu={}, learned=None)
        self.app.store.apply(self.job, found)

    def tick(self, *, after=0.0):
        self.clock.now += after
        self.results.tick(self.clock.now)

    @property
    def results(self):
        return self.app.results

    @property
    def job(self):
        return self.newest()

    @property
    def events(self):
        return [event.event for event in self.app.journal.events(self.job.id)]

    @property
    def fates(self):
        """What became of the attempt, unless it came out."""
        return [event for event in self.events if event in FATES]


@pytest.fixture
def here(tmp_path):
    made = Generating(tmp_path)
    yield made
    made.close()
    made.no_bug()


def full(_, *_args):
    raise DiskFull("No space left.", "Free some.")


def test_full_disk_while_finishing(here, monkeypatch):
    """A full disk while a result is finished costs no second generation."""
    with monkeypatch.context() as patch:
        patch.setattr(sealing, "finish", full)
        here.generated()
        here.settle()
        assert (here.job.state, here.job.waiting_on) == (JobState.CHECKING, Waiting.DISK_FULL)
        here.tick(after=module.AGAIN - 1)
        assert here.app.background.idle
    here.tick(after=1)
    here.settle()
    assert here.fates == []
    assert (here.job.state, here.job.waiting_on) == (JobState.DONE, None)
    assert here.events.count("started") == 1
    assert (here.outputs / "a" / "a_preview.mp4").exists()


def test_manifest_has_what_was_drawn(here):
    """The manifest has the drawn words that the prompt still says; the block is ours and not in its spec."""
    here.attempt.spec["povwatch"]["drawn"] = {"place": "modern urban environment", "light": "lamp"}
    here.generated()
    here.settle()
    written = json.loads((here.outputs / "a" / "a_preview.json").read_text())
    assert written["drawn"] == {"place": "modern urban environment"}
    assert "povwatch" not in written["spec"]


REFUSALS = [errno.ENOSPC, errno.EROFS, errno.EMFILE, errno.EIO, errno.ESTALE]
"""One of each cause; test_machine_faults.py has them all."""


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("step", ["finish", "seal", "publish"])
def test_refusal_costs_no_generation(here, monkeypatch, step, code):
    """What the machine refuses is tried again, and costs no second generation."""

    def refused(*_, **__):
        raise OSError(code, os.strerror(code))

    places = {"finish": (private, "enter"), "seal": (staged, "sync_and_measure"), "publish": (fs, "rename_noreplace")}
    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(*places[step], refused)
        here.generated()
        here.settle()
        assert here.job.state is (JobState.PUBLISHING if step == "publish" else JobState.CHECKING)
        assert here.job.waiting_on is (Waiting.DISK_FULL if code == errno.ENOSPC else Waiting.PAUSED)
        assert os.strerror(code) in here.job.detail
    held = {line["event"] for line in lines} & {"queue-paused", "outputs-away"}
    assert bool(held) is (code == errno.EROFS), "other clips would meet the same"
    here.results._hasten_all()
    here.tick()
    here.settle()
    assert here.fates == []
    assert (here.job.state, here.job.attempts) == (JobState.DONE, 1)


@pytest.mark.parametrize("step", ["finish", "publish"])
def test_pauses_are_the_tables(here, monkeypatch, step):
    """The pauses are those of machine_faults."""

    def refused(*_, **__):
        raise NoProcess("No process could be started for finish (Too many open files).", "Raise its limit.")

    monkeypatch.setattr(*{"finish": (sealing, "finish"), "publish": (Publisher, "publish")}[step], refused)
    here.generated()
    pauses = []
    for _ in range(7):
        here.settle()
        pauses.append(here.results.next_deadline() - here.clock.now)
        here.clock.now = here.results.next_deadline()
        here.tick()
    assert pauses == [machine_faults.RESOURCES_AGAIN.pause(n) for n in range(1, 8)]


def test_unreadable_work_is_made_again(here, monkeypatch):
    """What a disk does not give back is generated again after three tries."""

    def fails(*_, **__):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(sealing, "finish", fails)
    here.generated()
    for _ in range(module.READS_MAX):
        here.settle()
        assert here.fates == []
        here.results._hasten_all()
        here.tick()
    here.settle()
    assert (here.fates, here.job.attempts) == (["released"], 0)


def test_below_the_reserve(here, monkeypatch):
    """Below the reserve nothing is finished, it is told once, and it goes on by itself."""
    here.app.free_space._reserve = 2**62
    with monkeypatch.context() as patch, capture_logs() as said:
        patch.setattr(sealing, "finish", lambda *_: pytest.fail("it takes as much room as the result"))
        here.generated()
        for _ in range(5):
            here.settle()
            assert (here.job.state, here.job.waiting_on) == (JobState.CHECKING, Waiting.DISK_FULL)
            here.tick(after=module.MEASURE_EVERY)
    assert [line["event"] for line in said if "later" in line["event"]] == ["check-later"], "once, not at every try"
    here.app.free_space._reserve = 1
    here.tick(after=module.MEASURE_EVERY)
    here.settle()
    assert (here.job.state, here.job.waiting_on, here.job.attempts) == (JobState.DONE, None, 1)
    assert here.fates == []


def test_full_disk_while_publishing(here, monkeypatch):
    """A disk that is full while publishing is what the job waits on."""
    with monkeypatch.context() as patch, capture_logs() as said:
        patch.setattr(Publisher, "publish", full)
        here.generated()
        here.settle()
        here.tick(after=module.AGAIN)
        here.settle()
        assert (here.job.state, here.job.waiting_on) == (JobState.PUBLISHING, Waiting.DISK_FULL)
    assert [line["event"] for line in said if "later" in line["event"]] == ["publish-later"]
    here.tick(after=module.AGAIN)
    here.settle()
    assert here.job.state is JobState.DONE


@pytest.mark.parametrize("constant", [True, False])
def test_uneven_result_has_no_one_rate(here, constant):
    """A result with a variable rate is not given one."""
    here.attempt.prepared |= {"constant": constant}
    with capture_logs() as lines:
        here.generated()
        here.settle()
    (checked,) = [line for line in lines if line["event"] == "checked"]
    pace = "30 frames a second" if constant else "about 30 frames a second, not evenly spaced"
    assert checked["sentence"].format_map(checked).startswith(f"b'a.mp4': checked: 12 frames, 96x64, {pace}, 0.4 s")


def test_waiting_result_can_be_cancelled(here, monkeypatch):
    monkeypatch.setattr(sealing, "finish", full)
    here.generated()
    here.settle()
    here.app.store.cancel(here.job, "enough")
    assert (here.job.state, here.job.detail) == (JobState.CANCELLED, "enough")
    assert here.results.next_deadline() is None


def test_wrong_artifact_is_the_jobs_fault(here):
    """An artifact that is not what was asked for fails the attempt."""
    make_clip(here.outputs.parent / "shorter.mp4", frames=5)
    shutil.copy(here.outputs.parent / "shorter.mp4", here.attempt.artifact["path"])
    here.generated()
    here.settle()
    assert (here.job.state, here.fates) == (JobState.QUEUED, ["retry"])


def test_stop_while_reading(here, monkeypatch):
    """A stop while the result is read leaves it for the next start."""
    with monkeypatch.context() as patch:
        finish = sealing.finish

        def and_stop(attempt, gauge, cancelled):
            found = finish(attempt, gauge, cancelled)
            cancelled.set()
            return found

        patch.setattr(sealing, "finish", and_stop)
        here.generated()
        here.settle()
    assert here.job.state is JobState.CHECKING
    assert here.fates == []
    here.restart()
    here.settle()
    assert here.job.state is JobState.DONE


def test_measurements_are_kept(here):
    """What was measured is kept for the report."""
    here.attempt.seconds["generate"] = 200.0
    here.attempt.artifact["peak_memory_bytes"] = 13_700_000_000
    here.generated()
    here.settle()
    seconds = json.loads(here.job.artifact)["seconds"]
    assert {"generate", "finish", "check"} <= set(seconds)
    screen = Console(width=200, record=True, file=io.StringIO())
    with open_reader(here.state) as reader:
        screen.print(table(gather(reader, 1e9)))
    row = next(line for line in screen.export_text().splitlines() if "a.mp4" in line)
    assert "14 GB" in row
    assert "3 min 20 s" in row


def test_taken_folder_is_waited_for(here):
    """Work whose folder was swapped waits for it, and is not generated again."""
    rooms = here.outputs / ".povwatch"
    rooms.rename(here.outputs / "away")
    rooms.mkdir()
    rooms.chmod(0o777)
    here.generated()
    here.settle()
    assert (here.job.state, here.job.waiting_on) == (JobState.CHECKING, Waiting.PAUSED)
    assert f"{rooms} may be written by others" in here.job.detail
    rooms.rmdir()
    (here.outputs / "away").rename(rooms)
    here.tick(after=module.AGAIN)
    here.settle()
    assert here.fates == []
    assert here.job.state is JobState.DONE


@pytest.mark.parametrize("taken", [True, False])
def test_taken_or_gone_at_a_start(here, taken):
    """At a start, work in a swapped folder is waited for, and work that is gone is not."""
    rooms = here.outputs / ".povwatch"
    rooms.rename(here.outputs / "away")
    if taken:
        rooms.mkdir()
        rooms.chmod(0o777)
    here.move(here.job, "generated", state=JobState.CHECKING, artifact=here.attempt.to_json())
    here.restart()
    here.settle()
    assert here.job.state is (JobState.CHECKING if taken else JobState.QUEUED)


def spoken(lines, event):
    return [line["sentence"].format_map(line) for line in lines if line["event"] == event]


@pytest.mark.parametrize("what", [".povwatch", "."])
def test_removed_work_is_made_again(here, what):
    """outputs/ is there and is the known folder: nothing says that its disk is away."""
    shutil.rmtree(here.outputs / what)
    here.outputs.mkdir(exist_ok=True)
    with capture_logs() as lines:
        here.generated()
        here.settle()
        # Not `paused`, at which --once gives up: it goes on by itself at a time that is known.
        assert (here.job.state, here.job.waiting_on) == (JobState.CHECKING, Waiting.RETRY_AT)
        begun = here.clock.now
        while here.clock.now < begun + module.BACK_WITHIN:
            assert here.fates == []
            here.clock.now = here.results.next_deadline()
            here.tick()
            here.settle()
    assert here.clock.now == begun + module.BACK_WITHIN
    assert (here.fates, here.job.attempts) == (["released"], 0)
    (said,) = spoken(lines, "check-later")
    assert "kept" not in said
    assert f"{here.attempt.folder} is not there" in said
    assert "generated again" in said


def test_work_back_soon_is_used(here):
    rooms = here.outputs / ".povwatch"
    rooms.rename(here.outputs / "away")
    here.generated()
    here.settle()
    (here.outputs / "away").rename(rooms)
    here.tick(after=module.BACK_WITHIN - 1)
    here.settle()
    assert (here.job.state, here.fates) == (JobState.DONE, [])


def test_work_away_with_its_disk(here):
    """Work that is away with its disk is waited for, and used when it is back."""
    mounted = here.outputs
    mounted.rename(mounted.with_name("unmounted"))
    with capture_logs() as lines:
        here.generated()
        for _ in range(20):
            here.settle()
            here.clock.now = here.results.next_deadline()
            here.tick()
        here.settle()
    assert here.fates == []
    (said,) = spoken(lines, "check-later")
    assert "kept" not in said
    mounted.mkdir()  # the mount point, a moment before the disk: the patience begins then
    here.results._hasten_all()
    here.tick()
    here.settle()
    assert here.fates == []
    shutil.rmtree(mounted)
    mounted.with_name("unmounted").rename(mounted)
    here.clock.now = here.results.next_deadline()
    here.tick()
    here.settle()
    assert (here.job.state, here.fates) == (JobState.DONE, [])


def test_gone_promise_is_not_called_safe(here, monkeypatch):
    """A result that went away with its promise is not called safe."""
    with monkeypatch.context() as patch, capture_logs() as lines:
        keep = Publisher.publish
        patch.setattr(Publisher, "publish", lambda *given: (shutil.rmtree(here.outputs / ".povwatch"), keep(*given)))
        here.generated()
        here.settle()
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
def test_failed_finishing_is_kept(here, monkeypatch, op):
    """A failure of finishing spends no GPU time: the artifact by itself is what was asked for."""
    if op == "check":  # the judge of the artifact is the same operation: it fails for the finished file alone
        monkeypatch.setattr(workpiece, "call", lambda asked, args, **rest: (
            broken_child(op) if args.get("artifact") == "final.mp4" else call)(asked, args, **rest))  # fmt: skip
    else:
        monkeypatch.setattr(workpiece, "call", broken_child(op))
    here.generated()
    for failures in (1, 2):
        here.settle()
        assert (here.job.state, here.job.waiting_on) == (JobState.CHECKING, Waiting.RETRY_AT)
        assert Attempt.from_json(here.job.artifact).unfinished == failures, "a restart goes on counting"
        here.tick()
        assert here.app.background.idle, "there is a pause"
        here.tick(after=retry.backoff(failures))
    here.settle()
    assert (here.job.state, here.fates) == (JobState.FAILED, ["failed"])
    assert Attempt.from_json(here.job.artifact).unfinished == 3
    events = here.events
    assert (events.count("started"), events.count("finish-retry")) == (1, 2)


def test_result_is_scored(here):
    """The artifact is the clip itself: manifest and journal have its scores, and its sheet is beside it."""
    here.generated()
    here.settle()
    assert here.job.state is JobState.DONE
    (folder,) = {path.parent for path in here.outputs.rglob("a_preview.json")}
    manifest = json.loads((folder / "a_preview.json").read_text())
    assert manifest["scores"] == {
        "edge_f1": 1.0,
        "blur_ssim": 1.0,
        "invented_motion": 0.0,
        "lost_motion": 0.0,
        "temporal_residual": 0.0,
        "colour_drift": 0.0,
    }
    assert manifest["sheet"]["file"] == "a_preview_sheet.jpg"
    assert (folder / "a_preview_sheet.jpg").read_bytes()[:2] == b"\xff\xd8"
    assert Attempt.from_json(here.job.artifact).scored["scores"] == manifest["scores"]


@pytest.mark.parametrize(
    ("error", "word"), [(MediaError("score died of SIGSEGV."), "failed"), (MediaTooSlow("too slow."), "out-of-time")]
)
def test_failed_scores_cost_nothing(here, monkeypatch, error, word):
    """The result is published without them; the manifest and the log say why."""

    def fails(asked, given, **rest):
        if asked == "score":
            raise error
        return call(asked, given, **rest)

    monkeypatch.setattr(workpiece, "call", fails)
    here.generated()
    with capture_logs() as logs:
        here.settle()
    assert (here.job.state, here.fates) == (JobState.DONE, [])
    (line,) = [line for line in logs if line["event"] == "scores-failed"]
    assert (line["what"], line["problem"]) == ("scores and contact sheet", str(error))
    (file,) = here.outputs.rglob("a_preview.json")
    manifest = json.loads(file.read_text())
    assert manifest["scores"] == {}
    assert set(manifest["scores_about"]["missing"].values()) == {word}
    assert "edge_f1" in manifest["scores_about"]["missing"]
    assert "sheet" not in manifest


def test_progress_names_the_step(here, monkeypatch):
    """While a result is finished, checked and scored, its progress says which of these is done."""
    seen = []
    monkeypatch.setattr(
        workpiece,
        "call",
        lambda op, *rest, **also: seen.append((op, here.results.progress(here.job)[0])) or call(op, *rest, **also),
    )
    here.generated()
    here.settle()
    assert seen == [("finish", "finishing"), ("check", "checking"), ("score", "scoring")]


def test_nothing_more_is_wanted(here, monkeypatch):
    """Without scores and sheets, no child is started for them."""
    asked = []
    monkeypatch.setattr(workpiece, "call", lambda op, *rest, **also: asked.append(op) or call(op, *rest, **also))
    monkeypatch.setattr(here.results, "_scoring", ScoringOptions())
    here.generated()
    here.settle()
    assert here.job.state is JobState.DONE
    assert "score" not in asked
    assert not list(here.outputs.rglob("*.jpg"))


@pytest.mark.parametrize("name", ["hands_pck", "hands_changed_kept"])
def test_hands_that_cannot_be_judged(monkeypatch, name):
    """A rule that no result could ever be judged by is refused at the start."""
    config = Config(quality=Quality(**{name: 0.5}))
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=f"quality.{name} is to be judged, and MediaPipe is not installed"):
        module.scoring_options(config)
    monkeypatch.setattr(module, "find_spec", lambda _: "there")
    with pytest.raises(ConfigError, match="names no file"):
        module.scoring_options(config)
    assert (
        module.scoring_options(Config(quality=Quality(**{name: 0.5, "hands_model": "m.task"}))).hands_model == "m.task"
    )


def test_retry_ends_a_pause(here, monkeypatch):
    """A pause ends when somebody asks for it."""
    assert not here.results.hasten(here.job), "it waits for nothing"
    with monkeypatch.context() as patch:
        patch.setattr(workpiece, "call", broken_child("finish"))
        here.generated()
        here.settle()
    here.tick()
    assert here.app.background.idle, "there is a pause"
    assert here.results.hasten(here.job)
    here.tick()
    here.settle()
    assert (here.job.state, here.fates) == (JobState.DONE, [])


def test_finishing_that_fails_once(here, monkeypatch):
    """Finishing that fails once costs nothing."""
    with monkeypatch.context() as patch:
        patch.setattr(workpiece, "call", broken_child("finish"))
        here.generated()
        here.settle()
    here.tick(after=retry.backoff(1))
    here.settle()
    assert (here.job.state, here.job.attempts, here.fates) == (JobState.DONE, 1, [])


@pytest.mark.parametrize("how", ["cut", "fewer", "text"])
def test_engines_fault_is_another_attempt(here, how):
    """What the engine did wrong makes another attempt."""
    made = Path(here.attempt.artifact["path"])
    if how == "cut":
        made.write_bytes(made.read_bytes()[: made.stat().st_size // 2])
    elif how == "fewer":
        make_clip(made, frames=5)
    else:
        made.write_text("no video")
    here.generated()
    here.settle()
    assert (here.job.state, here.fates) == (JobState.QUEUED, ["retry"])


def test_last_try_is_without_the_sound(here, monkeypatch):
    """It was proven before; should it be at fault all the same, it does not cost the result."""
    clip = beeping(here.inputs / "a.mp4", "aac")
    here.prepare(clip)

    def fails(asked, given, **rest):
        if asked == "finish" and given["sound"]:
            raise MediaError("finish died of SIGSEGV")
        return call(asked, given, **rest)

    monkeypatch.setattr(workpiece, "call", fails)
    here.generated()
    for failures in (1, 2):
        here.settle()
        here.tick(after=retry.backoff(failures))
    here.settle()
    assert (here.job.state, here.fates) == (JobState.DONE, [])
    (said,) = [e for e in here.app.journal.events(here.job.id) if e.event == "sound-left-out"]
    assert "SIGSEGV" in said.data["problem"]
