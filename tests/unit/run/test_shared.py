"""What the looks and seeds of a clip share: made once, with a real clip, and gone when no look needs it."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from pathlib import Path

import pytest
from support.looks import PERIOD, Looks

from povwatch.attempt.judging import tries_of
from povwatch.attempt.shared_files import SharedFiles
from povwatch.core.changes import TryOver
from povwatch.core.errors import JobFailed
from povwatch.core.job import JobState
from povwatch.core.quality import Try
from povwatch.engines.control_files import ControlFile
from povwatch.files.fs import closing
from povwatch.media.errors import MediaStopped
from povwatch.media.run import call

pytestmark = pytest.mark.usefixtures("forked_media_children")


class Sharing(Looks):
    """A clip whose looks are queued. Their copies are made for attempts that nobody runs."""

    def __init__(self, folder, **sections):
        super().__init__(folder, **sections)
        self.copy(frames=5, audio="aac", fps=25)

    def queue(self, *looks):
        for look in looks:
            self.write(look)
        self.rescan()
        self.until(PERIOD + 1)
        assert set(self.states().values()) == {"queued"}

    def begin(self, look=""):
        job = self.jobs()[look]
        return self.app.preparing.begin(job, f"run{job.id}", self.app.grace.spec_of(job))

    def prepare(self, *looks):
        """Make the copies for these looks, one after the other."""
        found = []
        for look in looks:
            found.append(self.begin(look))
            self.settle()
            assert found[-1].prepared, found[-1].failure
        return found

    def try_over(self, active):
        """Have the look's next seed tried, after this attempt."""
        job, attempt = self.app.store.job(active.job), active.attempt
        tried = Try(0, active.run_id, job.spec_hash, job.source_hash, attempt=json.loads(attempt.to_json()))
        tries = tries_of(job).with_try(tried)
        for state in (JobState.RUNNING, JobState.CHECKING):
            self.move(self.app.store.job(job.id), "waiting", state=state, run_id=active.run_id)
        self.app.store.apply(self.app.store.job(job.id), TryOver(fields={}, detail="", tries=tries.to_json()))

    def next_seed(self, active):
        """The attempt at the next seed, with its copies, after this one."""
        self.try_over(active)
        job = self.app.store.job(active.job)
        found = self.app.preparing.begin(job, f"seed{len(tries_of(job).over)}", self.app.grace.spec_of(job))
        self.settle()
        assert found.prepared, found.failure
        return found

    def shared(self):
        return sorted((self.outputs / ".povwatch").glob("clip.*"))

    def tick(self):
        self.app.preparing.tick(self.clock.now, wanted=0)


@pytest.fixture
def here(tmp_path):
    made = Sharing(tmp_path)
    yield made
    made.close()
    assert made.shared() == []
    made.no_bug()


EDGE = {"key": "edge", "preset": "medium"}


class Computing(Sharing):
    """With an engine that computes the control of each look's JSON, unless it is given."""

    def generate(self, active, setting=EDGE, frames=5):
        """Generate, as the worker does; the setting of the control that was read, if any."""
        job, attempt = self.app.store.job(active.job), active.attempt
        self.app.preparing.share_controls(job, attempt)
        given = [ControlFile(**one) for one in attempt.request(job.id).get("control_files", [])]
        used = [one for one in given if one.setting == setting and one.frames >= frames]
        attempt.artifact = {"path": "x", "control_files_used": {one.key: one.sha256 for one in used}}
        if attempt.leaves_control_files and not used:
            path = Path(attempt.folder, "control_file_edge.mp4")
            path.write_bytes(b"edges of this clip")
            attempt.artifact["control_files"] = [ControlFile.written(str(path), setting, frames).to_json()]
        self.app.preparing.keep_controls(job, attempt)
        return [one.setting for one in used]

    def all_at_once(self, *looks):
        return [self.generate(active) for active in self.prepare(*looks)]


@pytest.fixture
def computing(tmp_path):
    made = Computing(tmp_path)
    yield made
    made.close()
    assert made.shared() == []
    made.no_bug()


class Annotator:
    """Computes a control as bytes that say what was asked for."""

    def __init__(self):
        self.asked, self.fails, self.may = [], None, threading.Event()
        self.may.set()

    def make(self, asked, prepared, *, folder, out_path, report, cancelled):
        self.asked.append((asked.kind, asked.prompt))
        assert Path(folder, prepared["path"]).is_file()
        path = Path(folder, out_path)
        path.write_bytes(b"half")
        report(0.5)
        while not self.may.wait(0.01):
            if cancelled.is_set():
                raise MediaStopped("It was called off.")
        if self.fails:
            raise self.fails
        path.write_bytes(f"{asked.kind} {asked.prompt}".encode())
        return {"path": out_path, "kind": asked.kind, "device": "cpu", "notes": ["it flickers"], "sha256": "d1"}


class Annotated(Sharing):
    """With looks that ask for controls which a model computes."""

    def __init__(self, folder):
        super().__init__(folder)
        self.annotator = self.app.preparing._annotator = Annotator()

    def queue_asking(self, **controls):
        for look, asked in controls.items():
            self.write(look, **asked)
        self.rescan()
        self.until(PERIOD + 1)
        assert set(self.states().values()) == {"queued"}


@pytest.fixture
def annotated(tmp_path):
    made = Annotated(tmp_path)
    yield made
    made.close()
    assert made.shared() == []
    made.no_bug()


def files(active):
    attempt = active.attempt
    return [
        Path(path) for path in (attempt.source, *map(attempt.prepared.get, ("path", "times")), attempt.sound["path"])
    ]


def same_files(*actives):
    """How many files there are of each kind."""
    return [len({path.stat().st_ino for path in of_kind}) for of_kind in zip(*map(files, actives), strict=True)]


def test_twenty_looks_share_one_copy(here, monkeypatch):
    """Twenty looks of a clip cost one private copy, one working copy and one sound."""
    names = [f"n{number}" for number in range(20)]
    here.queue(*names)
    asked = []
    monkeypatch.setattr(
        "povwatch.attempt.attempt.call", lambda what, *a, **n: asked.append(what) or call(what, *a, **n)
    )
    found = here.prepare("", *names)
    assert same_files(*found) == [1, 1, 1, 1]
    assert asked == ["prepare"]
    assert len({active.attempt.folder for active in found}) == 21
    for active in found:
        assert all(path.is_relative_to(active.attempt.folder) for path in files(active))
        assert active.attempt.info == found[0].attempt.info
    room = here.outputs / ".povwatch"
    once = sum(path.stat().st_size for path in set(files(found[0])))
    every = {path.stat().st_ino: path.stat().st_size for path in room.rglob("*") if path.is_file()}
    assert sum(every.values()) == once, "bytes are there once"


def test_each_has_names_of_its_own(here):
    """A look keeps its copies when the folder of the one that made them is deleted, and the shared one too."""
    here.queue("night")
    first, second = here.prepare("", "night")
    here.app.publisher.staging.delete_attempt(first.job, first.run_id)
    here.app.preparing.drop_all()
    assert here.shared() == []
    assert all(path.stat().st_size for path in files(second))


def test_two_at_once_make_one_copy(here):
    """Two workers that come to a clip's looks at once make one copy."""
    here.queue("night", "rain")
    found = [here.begin(look) for look in ("", "night", "rain")]
    here.settle()
    assert [active.failure for active in found] == [None, None, None]
    assert same_files(*found) == [1, 1, 1, 1]


def test_kept_while_a_look_waits(here):
    """The copies stay while a look of the clip waits, held or not, and go with the last one."""
    here.queue("night", "rain")
    here.prepare("")
    for look in ("", "night"):
        here.app.store.cancel(here.jobs()[look], "no longer wanted")
    here.tick()
    assert len(here.shared()) == 1
    here.app.store.cancel(here.jobs()["rain"], "no longer wanted")
    here.tick()
    assert here.shared() == []


def test_clip_with_its_own_look_alone(here):
    """A clip without further looks shares nothing."""
    here.queue()
    here.prepare("")
    assert here.shared() == []


def refused(*_, **__):
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def test_without_hard_links(here, monkeypatch):
    """On a file system without hard links, each look has its own copies."""
    here.queue("night")

    monkeypatch.setattr(os, "link", refused)
    found = here.prepare("", "night")
    assert same_files(*found) == [2, 2, 2, 2]


def test_copies_that_went_away(here):
    """If somebody removes the shared copies, the next look makes them again."""
    here.queue("night", "rain")
    here.prepare("")
    (folder,) = here.shared()
    for file in folder.iterdir():
        file.unlink()
    found = here.prepare("night", "rain")
    assert same_files(*found) == [1, 1, 1, 1]


def test_another_video_has_its_own(here):
    """After the clip was replaced, its looks do not get the copies of the one before."""
    here.queue("night")
    (old,) = here.prepare("")
    here.copy(frames=3, audio="aac", fps=25)
    here.until(PERIOD + 1)
    assert here.jobs()["night"].state is JobState.QUEUED
    (new,) = here.prepare("night")
    assert same_files(old, new) == [2, 2, 2, 2]
    assert new.attempt.prepared["frames"] == 3


def test_gone_after_a_kill(here):
    """The next start deletes what was shared, and the looks make it again, once."""
    here.queue("night", "rain")
    here.prepare("")
    here.restart(away=1)
    from povwatch.daemon.recovery import sweep  # noqa: PLC0415

    sweep(here.app.store, here.app.publisher.staging)
    assert here.shared() == []
    here.rescan()
    here.until(PERIOD)
    found = here.prepare("night", "rain")
    assert same_files(*found) == [1, 1, 1, 1]


def test_twenty_looks_compute_one_control(computing):
    """The first of twenty looks computes its control, and the others read that; its bytes are there once."""
    names = [f"n{number}" for number in range(20)]
    computing.queue(*names)
    first, *others = computing.prepare("", *names)
    assert computing.generate(first) == []
    assert [computing.generate(one) for one in others] == [[EDGE]] * 20
    room = computing.outputs / ".povwatch"
    inodes = {path.stat().st_ino for path in room.rglob("*control*")} | {
        path.stat().st_ino for path in room.glob("clip.*/*") if path.stat().st_size == len(b"edges of this clip")
    }
    assert len(inodes) == 1
    manifest_says = [len(one.attempt.control_files) for one in (first, *others)]
    assert manifest_says == [0] + [1] * 20


def test_last_look_leaves_nothing(computing):
    """A look after which no other one waits leaves no control; neither does a clip with its own look alone."""
    computing.queue("night")
    first, last = computing.prepare("", "night")
    computing.app.store.cancel(computing.jobs()[""], "no longer wanted")
    computing.app.preparing.share_controls(computing.jobs()["night"], last.attempt)
    assert not last.attempt.leaves_control_files
    assert first.attempt.control_files == last.attempt.control_files == []


@pytest.mark.parametrize("how", ["cut short", "gone", "the engine could not use it", "another setting", "more frames"])
def test_control_is_computed_again(computing, how):
    """A control that was cut short, is gone, was of no use or is another one is computed anew, and kept again."""
    computing.queue("night", "rain", "snow")
    first, night, rain, snow = computing.prepare("", "night", "rain", "snow")
    computing.generate(first)
    (kept,) = [path for path in computing.shared()[0].iterdir() if path.read_bytes() == b"edges of this clip"]
    other, frames = EDGE, 5
    if how == "cut short":
        os.truncate(kept, 3)
    elif how == "gone":
        kept.unlink()
    elif how == "another setting":
        other = EDGE | {"preset": "low"}
    elif how == "more frames":
        frames = 6
    else:
        computing.app.preparing.share_controls(computing.app.store.job(night.job), night.attempt)
        computing.app.preparing.forget_controls(computing.app.store.job(night.job), night.attempt)
        night = rain
    assert computing.generate(night, other, frames) == []
    assert computing.generate(snow, other, frames) == [other]


def test_given_control_takes_none(computing):
    """A look that names a control video gets no computed one; the copy of its video is shared by its looks."""
    named = computing.inputs / ".controls/edges.mp4"
    named.parent.mkdir()
    named.write_bytes((computing.inputs / "a.mp4").read_bytes())
    computing.queue("night", "rain", "snow")
    for look in ("night", "rain"):
        computing.write(look, edge={"control_path": ".controls/edges.mp4"})
    computing.rescan()
    computing.until(PERIOD)
    computing.settle()
    computing.until(PERIOD)
    first, night, rain = computing.prepare("", "night", "rain")
    computing.generate(first)
    assert computing.generate(night) == []
    assert night.attempt.control_files == []
    copies = [Path(active.attempt.references["edge.control_path"]) for active in (night, rain)]
    assert len({copy.stat().st_ino for copy in copies}) == 1
    assert copies[0].stat().st_ino != named.stat().st_ino
    job = computing.jobs()["night"]
    spec = computing.app.grace.spec_of(job)
    named.write_bytes(b"another" + named.read_bytes())
    again = computing.app.preparing.begin(job, "again", spec)
    computing.settle()
    copy = Path(again.attempt.references["edge.control_path"])
    assert copy.read_bytes().startswith(b"another"), "another file under that name is copied"


def test_controls_go_with_the_last_look(computing):
    """A kept control goes when no look waits, when the disk is full, and at the next start."""
    computing.queue("night", "rain")
    computing.all_at_once("", "night")
    for look in ("", "night"):
        computing.app.store.cancel(computing.jobs()[look], "no longer wanted")
    computing.tick()
    assert len(computing.shared()) == 1
    computing.app.store.cancel(computing.jobs()["rain"], "no longer wanted")
    computing.tick()
    assert computing.shared() == []


@pytest.mark.parametrize("said", [None, "edge", 5, [1], [{"path": "x"}], [{"setting": {}, "frames": 1}], [[]]])
def test_any_engine_may_say_anything(computing, said):
    """An engine of one's own that says something else in that field costs nothing."""
    computing.queue("night")
    (first,) = computing.prepare("")
    first.attempt.artifact = {"path": "x", "control_files": said, "control_files_used": said}
    computing.app.preparing.keep_controls(computing.app.store.job(first.job), first.attempt)
    assert computing.app.preparing._shared.of(computing.jobs()[""]).files.known() == {}


def test_one_makes_while_others_wait(tmp_path):
    """Two that want a file at once have it made once; one that is no longer wanted does not wait."""
    room = tmp_path / ".povwatch"
    folders = [room / name for name in ("clip", "1.a", "2.b")]
    for folder in (room, *folders[1:]):
        folder.mkdir(mode=0o700)
    shared = SharedFiles(str(folders[0]), lambda: folders[0].mkdir(mode=0o700, exist_ok=True))
    begun, may, made, got = threading.Event(), threading.Event(), [], []

    def want(folder, cancelled):
        def make():
            begun.set()
            assert may.wait(10)
            made.append(folder)
            (folder / "depth.mp4").write_bytes(b"depth")
            return {"seconds": 3}

        fd = os.open(folder, os.O_RDONLY)
        try:
            got.append(shared.get("depth", fd, "depth.mp4", make, cancelled))
        finally:
            os.close(fd)

    threads = [threading.Thread(target=want, args=(folder, threading.Event())) for folder in folders[1:]]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    called_off = threading.Event()
    called_off.set()
    with pytest.raises(MediaStopped):
        want(folders[2], called_off)
    may.set()
    for thread in threads:
        thread.join()
    assert made == [folders[1]]
    assert sorted(got, key=lambda one: one[1]) == [({"seconds": 3}, False), ({"seconds": 3}, True)]
    assert (folders[2] / "depth.mp4").read_bytes() == b"depth"
    assert [path.name for path in folders[0].iterdir()] == [path.name for path in folders[0].glob("*.mp4")]


def test_folder_made_after_it_was_dropped(annotated, monkeypatch):
    """A look that keeps a file while all is dropped does not leave the folder behind."""
    annotated.queue_asking(night=DEPTH, rain=DEPTH)
    copies = annotated.app.preparing._shared.of(annotated.jobs()["night"])
    make, made = copies.files._make_folder, []

    def made_late():
        annotated.app.preparing.drop_all()
        made.append(make())

    monkeypatch.setattr(copies.files, "_make_folder", made_late)
    (night,) = annotated.prepare("night")
    assert len(made) == 1
    assert annotated.shared() == []
    assert Path(night.attempt.references["depth.control_path"]).read_bytes() == b"depth "
    annotated.prepare("rain")
    assert len(annotated.shared()) == 1, "that of the looks that begin later"


def test_dropped_files_leave_later_ones(tmp_path):
    """Files that were dropped while one was kept touch nothing that a later look keeps under the same key."""
    room, own = tmp_path / ".povwatch/clip", tmp_path / ".povwatch/1.a"
    own.mkdir(mode=0o700, parents=True)
    room.parent.chmod(0o700)
    (own / "depth.mp4").write_bytes(b"depth")
    later = SharedFiles(str(room), lambda: room.mkdir(mode=0o700, exist_ok=True))

    def made_late():
        old.drop()
        with closing(os.open(own, os.O_RDONLY)) as fd:
            later.keep("depth", fd, "depth.mp4", {"by": "later"})

    old = SharedFiles(str(room), made_late)
    with closing(os.open(own, os.O_RDONLY)) as fd:
        old.keep("depth", fd, "depth.mp4", {"by": "old"})
        assert later.take("depth", fd, "taken.mp4") == {"by": "later"}
    assert len(list(room.iterdir())) == 1


DEPTH = {"depth": {}}


def seg(prompt):
    return {"seg": {"control_prompt": prompt}}


def test_twenty_looks_compute_one_depth(annotated, capsys):
    """Twenty looks of a clip cost one computed depth, and one of each thing that segments are asked for."""
    names = [f"n{number}" for number in range(20)]
    asked = {name: DEPTH | (seg("cup") if number < 2 else {}) for number, name in enumerate(names)}
    annotated.queue_asking(**asked, other=seg("table"))
    found = annotated.prepare(*names, "other")
    assert annotated.annotator.asked == [("depth", ""), ("seg", "cup"), ("seg", "table")]
    depths = [active.attempt.request(1)["spec"]["depth"]["control_path"] for active in found[:-1]]
    assert len({Path(path).stat().st_ino for path in depths}) == 1
    assert {Path(path).read_bytes() for path in depths} == {b"depth "}
    assert all(Path(path).is_relative_to(one.attempt.folder) for path, one in zip(depths, found, strict=False))
    assert Path(found[-1].attempt.request(1)["spec"]["seg"]["control_path"]).read_bytes() == b"seg table"
    who = [active.attempt.annotated["depth"]["computed_by"] for active in found[:-1]]
    assert who == ["this look"] + ["another look"] * 19
    assert "path" not in found[0].attempt.annotated["depth"]
    said = capsys.readouterr().out
    assert [said.count(f"[info     ] {name}") for name in ("control-computed", "control-taken")] == [3, 20]
    assert said.count("it flickers") == 3, "told where it was computed"


def test_clip_alone_has_its_depth(annotated):
    """A clip with its own look alone has its depth computed in its own folder."""
    annotated.queue_asking(**{"": DEPTH})
    (only,) = annotated.prepare("")
    assert Path(only.attempt.references["depth.control_path"]).read_bytes() == b"depth "
    assert annotated.shared() == []


def test_engine_that_computes_depth_itself(annotated):
    """With an engine that computes depth itself, nobody does before it."""
    annotated.app.preparing._annotator = None
    annotated.queue_asking(night=DEPTH)
    (night,) = annotated.prepare("night")
    assert "control_path" not in night.attempt.request(1)["spec"]["depth"]


def test_depth_that_cannot_be_computed(annotated):
    """A control that cannot be computed fails its look in words, and the next look tries again."""
    annotated.queue_asking(night=DEPTH, rain=DEPTH)
    annotated.annotator.fails = JobFailed("Nothing like 'cup' is in the clip.", "Name things that are there.")
    night = annotated.begin("night")
    annotated.settle()
    assert (night.prepared, night.failure) == (False, annotated.annotator.fails)
    annotated.annotator.fails = None
    (rain,) = annotated.prepare("rain")
    assert Path(rain.attempt.references["depth.control_path"]).read_bytes() == b"depth "


def test_cancelled_while_computing(annotated):
    """A look that is cancelled while its control is computed leaves no half file to others; its progress is told."""
    annotated.queue_asking(night=DEPTH, rain=DEPTH)
    annotated.annotator.may.clear()
    night = annotated.begin("night")
    while not (annotated.annotator.asked and night.making.fraction):
        time.sleep(0.01)
    assert (night.making.what, night.making.fraction) == ("computing depth", 0.5)
    annotated.app.preparing.cancel(night)
    annotated.settle()
    assert isinstance(night.failure, MediaStopped)
    annotated.annotator.may.set()
    (rain,) = annotated.prepare("rain")
    assert rain.attempt.annotated["depth"]["computed_by"] == "this look"


def test_another_prompt_is_computed_anew(annotated):
    """What was prepared ahead is not taken if the JSON asks for other segments by the claim."""
    annotated.queue_asking(night=seg("cup"))
    job = annotated.jobs()["night"]
    spec = annotated.app.grace.spec_of(job)
    preparing = annotated.app.preparing
    preparing._begin_ahead(job, spec)
    annotated.settle()
    other = spec.model_copy(update={"seg": spec.seg.model_copy(update={"control_prompt": "table"})})
    assert preparing.take(job, other) is None
    preparing._begin_ahead(job, other)
    annotated.settle()
    taken = preparing.take(job, other)
    assert Path(taken.attempt.references["seg.control_path"]).read_bytes() == b"seg table"


def test_seeds_compute_one_depth(annotated, capsys):
    """Each further seed of a clip takes the depth and the segments of the seed before; a kill in between costs none."""
    annotated.queue_asking(**{"": DEPTH | seg("cup") | {"seed": 0, "povwatch": {"best_of": 4}}})
    (first,) = annotated.prepare("")
    second = annotated.next_seed(first)
    annotated.restart(away=1)
    annotated.app.preparing._annotator = annotated.annotator
    annotated.rescan()
    annotated.until(PERIOD)
    third = annotated.next_seed(second)
    assert annotated.annotator.asked == [("depth", ""), ("seg", "cup")]
    for kind in ("depth", "seg"):
        files = [Path(one.attempt.references[f"{kind}.control_path"]) for one in (first, second, third)]
        assert len({file.stat().st_ino for file in files}) == 1
        assert [file.parent.name for file in files] == [Path(one.attempt.folder).name for one in (first, second, third)]
    who = [one.attempt.annotated["depth"]["computed_by"] for one in (first, second, third)]
    assert who == ["this look", "an earlier seed", "an earlier seed"]
    assert annotated.shared() == []
    said = capsys.readouterr().out
    assert [said.count(f"[info     ] {name}") for name in ("control-computed", "control-taken")] == [2, 4]


def test_seed_after_another_looks_depth(annotated):
    """A seed says that its depth was computed by another look, where the seed before has got it from there."""
    annotated.queue_asking(night=DEPTH, rain=DEPTH)
    _, rain = annotated.prepare("night", "rain")
    again = annotated.next_seed(rain)
    assert again.attempt.annotated["depth"]["computed_by"] == "another look"
    assert annotated.annotator.asked == [("depth", "")]


@pytest.mark.parametrize("how", ["gone", "no hard links", "another prompt"])
def test_seed_computes_again(annotated, monkeypatch, how):
    """A seed computes a control itself if that of the seed before cannot be taken, or is another one."""
    annotated.queue_asking(**{"": seg("cup")})
    (first,) = annotated.prepare("")
    if how == "gone":
        Path(first.attempt.references["seg.control_path"]).unlink()
    elif how == "another prompt":
        annotated.write("", **seg("table"))
        annotated.rescan()
        annotated.until(PERIOD + 1)
    else:
        monkeypatch.setattr(os, "link", refused)
    again = annotated.next_seed(first)
    said = "seg table" if how == "another prompt" else "seg cup"
    assert Path(again.attempt.references["seg.control_path"]).read_bytes().decode() == said
    assert (len(annotated.annotator.asked), again.attempt.annotated["seg"]["computed_by"]) == (2, "this look")


def test_seeds_read_one_edge(computing):
    """What the engine computes for a seed is read by all further ones, if it is known that some follow."""
    computing.queue()
    computing.write(povwatch={"best_of": 3})
    computing.rescan()
    computing.until(PERIOD + 1)
    (first,) = computing.prepare("")
    assert computing.generate(first) == []
    second = computing.next_seed(first)
    assert computing.generate(second) == [EDGE]
    third = computing.next_seed(second)
    assert computing.generate(third) == [EDGE]
    assert not third.attempt.leaves_control_files, "it is the last one"
    (taken,) = third.attempt.control_files
    assert third.attempt.who_computed(taken["sha256"]) == "an earlier seed"
    assert Path(taken["path"]).parent == Path(third.attempt.folder)


def test_seed_that_may_pass_leaves_nothing(tmp_path):
    """Where rules judge, the first seed leaves no control, as it may pass; the second does."""
    computing = Computing(tmp_path, quality={"edge_f1": 1.0})
    try:
        computing.queue()
        (first,) = computing.prepare("")
        computing.generate(first)
        second = computing.next_seed(first)
        computing.generate(second)
    finally:
        computing.close()
    assert [one.attempt.leaves_control_files for one in (first, second)] == [False, True]


def test_second_attempt_computes_again(computing):
    """A seed's second attempt gets no control of the seed before: the first may have failed because of it."""
    computing.queue()
    computing.write(povwatch={"best_of": 3})
    computing.rescan()
    computing.until(PERIOD + 1)
    (first,) = computing.prepare("")
    computing.generate(first)
    second = computing.next_seed(first)
    computing.move(computing.app.store.job(second.job), "waiting", attempts=2)
    assert computing.generate(second) == []
