"""outputs/.povwatch, which somebody of the group may rename at any moment, and put a folder of their own in its place.

What they plant there is a link for each name that povwatch writes, and a film of theirs for each that it reads.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from pathlib import Path

import pytest
from support.clips import make_clip
from support.somebody_else import NOBODY
from support.spec_texts import text

from povwatch.attempt import attempt as workpiece
from povwatch.attempt import copies
from povwatch.attempt.attempt import Attempt
from povwatch.attempt.finishing import finish
from povwatch.config.hooks import Hook
from povwatch.config.settings import Config, Paths
from povwatch.core.errors import OutputsAway
from povwatch.core.job import Job, JobState
from povwatch.core.mailbox import Gauge, Mailbox
from povwatch.files import fs, private
from povwatch.hooks.run import HookRequest, perform
from povwatch.media.run import call
from povwatch.publish import Publisher
from povwatch.publish.staging import Staging
from povwatch.spec.parse import parse

pytestmark = pytest.mark.usefixtures("forked_media_children")

VICTIM = b"what nobody but povwatch may write"
WRITTEN = (
    *("source.mp4", "working.mp4", "working.mp4.times", "final.mp4", "edge_control_path.mp4"),
    *("manifest_v1.json", "a.mp4", "a.json"),
)


class Place:
    """inputs/, outputs/ with a run's room in it, and a file outside that only povwatch may write."""

    def __init__(self, folder):
        self.inputs, self.outputs, self.victim = folder / "inputs", folder / "outputs", folder / "victim"
        self.inputs.mkdir()
        self.outputs.mkdir()
        self.victim.write_bytes(VICTIM)
        self.rooms = self.outputs / ".povwatch"
        self.publisher = Publisher(self.outputs)
        self.room = self.publisher.staging.make(17, "run")
        clip = make_clip(self.inputs / "a.mp4", frames=48)
        make_clip(self.inputs / "c.mp4")
        spec = parse(text(video_path="a.mp4", edge={"control_path": "c.mp4"}), clip_name=b"a.mp4", file="")
        info = call("inspect", {"path": str(clip), "kind": "mp4"}, timeout=60)
        self.piece = Attempt(
            str(self.room), info, spec.model_dump(mode="json", by_alias=True), capabilities={"real": False}
        )

    def prepare(self):
        self.piece.prepare(self.inputs, b"a.mp4", lambda _: None, threading.Event())

    def generate(self):
        """As an engine that hands the working copy back."""
        shutil.copy(self.piece.prepared["path"], self.room / "generated.mp4")
        self.piece.artifact = {"path": str(self.room / "generated.mp4")}

    def finish(self):
        return finish(self.piece, Gauge(), threading.Event())

    def swap(self, below="17.run", films=()):
        """What somebody of the group does, who knows what `films` in the room look like."""
        self.rooms.rename(self.outputs / "away")
        theirs = self.rooms / below
        theirs.mkdir(parents=True)
        self.planted = {name for name in WRITTEN if name not in films}
        for name in self.planted:
            (theirs / name).symlink_to(self.victim)
        for name in films:
            shutil.copy(self.outputs / "away" / below / name, theirs / name)
        for path in (self.rooms, *self.rooms.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o777)
            if os.geteuid() == 0:
                os.lchown(path, NOBODY, NOBODY)

    def swap_back(self):
        shutil.rmtree(self.rooms)
        (self.outputs / "away").rename(self.rooms)

    def unharmed(self):
        """Nothing of theirs was followed or changed."""
        left = {path.name for path in self.rooms.rglob("*") if path.is_symlink()}
        return self.victim.read_bytes() == VICTIM and left == self.planted


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


READ = {
    "prepare": ["source.mp4"],
    "finish": ["working.mp4", "working.mp4.times", "generated.mp4"],
    "check": ["final.mp4", "working.mp4.times"],
}


def swapped_before(monkeypatch, place, where, name, op=None):
    """Swap once, right before a function is called: before a child for `op` starts, if that is said."""
    real, todo = getattr(where, name), [place.swap]

    def first(*args, **kwargs):
        if todo and op in {None, args[0]}:
            todo.pop()(films=READ.get(op, ()))
        return real(*args, **kwargs)

    monkeypatch.setattr(where, name, first)


OURS = r"\.povwatch (belongs to|may be written by)"


def test_prepare_in_a_swapped_folder(place, monkeypatch):
    """The child that prepares writes nothing in a folder that took the attempt's place."""
    with monkeypatch.context() as patch:
        swapped_before(patch, place, workpiece, "call", "prepare")
        with pytest.raises(OutputsAway, match=OURS):
            place.prepare()
    assert place.unharmed()
    place.swap_back()
    place.prepare()
    assert Path(place.piece.prepared["path"]).is_file()


@pytest.mark.parametrize("op", ["finish", "check"])
def test_finish_and_check_when_swapped(place, monkeypatch, op):
    """The children that finish and check neither read nor write there."""
    place.prepare()
    place.generate()
    with monkeypatch.context() as patch:
        swapped_before(patch, place, workpiece, "call", op)
        with pytest.raises(OutputsAway, match=OURS):
            place.finish()
    assert place.unharmed()
    place.swap_back()
    assert place.finish().frames == 48


@pytest.mark.parametrize("op", ["prepare", "finish", "check"])
def test_child_stays_in_its_room(place, monkeypatch, op):
    """Wherever that has been renamed to."""
    real, swapped = workpiece.call, []

    def watched(what, *args, on_progress, **kwargs):
        def progress(fraction):
            if what == op and not swapped:
                place.swap(films=READ[op])
                swapped.append(what)
            on_progress(fraction)

        return real(what, *args, on_progress=progress, **kwargs)

    if op != "prepare":
        place.prepare()
        place.generate()
    with monkeypatch.context() as patch:
        patch.setattr(workpiece, "call", watched)
        with contextlib.suppress(OutputsAway):  # what follows the child is refused
            (place.prepare if op == "prepare" else place.finish)()
    assert swapped
    assert place.unharmed()
    made = {"prepare": "working.mp4.times", "finish": "final.mp4", "check": "final.mp4"}[op]
    assert (place.outputs / "away" / "17.run" / made).is_file()


def test_copies_follow_no_link(place, monkeypatch):
    """Copies are not written through links in a swapped folder."""
    with monkeypatch.context() as patch:
        swapped_before(patch, place, workpiece, "take_copy")
        with pytest.raises(OutputsAway):
            place.prepare()
    assert place.unharmed()
    place.swap_back()
    with monkeypatch.context() as patch:
        swapped_before(patch, place, copies, "open_beneath")  # in the middle of a copy
        with pytest.raises(OutputsAway):
            place.prepare()
    assert place.unharmed()


def test_publishing_from_a_swapped_folder(place):
    """Nothing is made, sealed or published in a swapped folder, and all goes on when it is back."""
    file = place.room / "final.mp4"
    file.write_bytes(b"a whole video")
    naming = {"names": lambda _: [b"a/a_aug.mp4"], "describe": lambda _: b"{}"}
    place.swap()
    for refused in (
        lambda: place.publisher.staging.make(18, "run"),
        lambda: place.publisher.staging.checkpoints(17),
        lambda: place.publisher.staging.for_hooks(17),
        lambda: place.publisher.seal(17, "run", [file], **naming),
    ):
        with pytest.raises(OutputsAway, match=OURS):
            refused()
    assert place.unharmed()
    place.swap_back()
    sealed = place.publisher.seal(17, "run", [file], **naming)
    place.swap()
    with pytest.raises(OutputsAway, match=OURS):
        place.publisher.publish(sealed)
    with pytest.raises(OutputsAway, match=OURS):
        place.publisher.reseal(sealed, **naming)
    assert place.unharmed()
    place.swap_back()
    assert place.publisher.publish(sealed).gone == ()


@pytest.mark.parametrize("when", ["before", "after"])
def test_hook_files_follow_no_link(place, monkeypatch, when):
    """What a hook is given is not written through links in a swapped folder."""
    place.prepare()
    hook = Hook(name="look", when=when, argv=("true", "{video}", "{spec}"))
    job = Job(17, b"a.mp4", b"a", JobState.QUEUED, run_id="run")
    source = Path(place.piece.source) if when == "after" else None
    order = HookRequest(hook, job, {}, source, None, ran_before=False, filled_for=None)
    config = Config(paths=Paths(inputs=place.inputs, outputs=place.outputs, state=place.outputs.parent / "state"))
    made = Staging.for_hooks

    def swapped(rooms, job_id):
        found = made(rooms, job_id)
        place.swap("17/hooks")
        return found

    monkeypatch.setattr(Staging, "for_hooks", swapped)
    with pytest.raises(OutputsAway, match=OURS):
        perform(threading.Event(), order, config, place.publisher.staging, Mailbox(lambda: None))
    assert place.victim.read_bytes() == VICTIM


# -- what is ours, and what is not


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o2770, 0o1777])
@pytest.mark.parametrize("which", [".povwatch", ".povwatch/17.run"])
def test_writable_folder_is_not_private(place, which, mode):
    """A folder that others may write to is refused with the command that helps."""
    (place.outputs / which).chmod(mode)
    with pytest.raises(OutputsAway) as refusal:
        place.prepare()
    assert f"{place.outputs}/{which} may be written by others" in refusal.value.what
    assert f"chmod go-w {place.outputs}/{which}" in refusal.value.todo
    assert not list(place.room.iterdir())


def test_foreign_folder_is_not_ours(place, monkeypatch):
    """As with SMB, FAT, or NFS with all_squash, where owners and modes are the mount's."""
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(place.rooms, NOBODY, NOBODY)
    with pytest.raises(OutputsAway, match="belongs to"):
        place.prepare()
    with monkeypatch.context() as patch:
        patch.setattr(private, "_as_made_here", lambda _: (NOBODY, True))
        place.publisher.staging.make(18, "run")
    os.chown(place.rooms, 0, 0)
    place.rooms.chmod(0o777)
    with monkeypatch.context() as patch:
        patch.setattr(private, "_as_made_here", lambda _: (0, False))
        place.publisher.staging.make(18, "run")


def test_folder_on_another_disk(place):
    """A folder on another disk is not ours."""
    with fs.closing(os.open(place.rooms, os.O_RDONLY)) as fd:
        assert private.why_foreign(fd, Path("/proc").stat().st_dev) == "is on another disk"
        assert private.why_foreign(fd, os.fstat(fd).st_dev) == ""


def test_swapped_is_told_apart_from_gone(place):
    """A folder that was swapped is told apart from one that is gone."""
    assert not private.is_foreign(str(place.room))
    place.swap()
    assert private.is_foreign(str(place.room))
    shutil.rmtree(place.rooms)
    assert not private.is_foreign(str(place.room))
    with pytest.raises(OutputsAway, match="is not there"), private.opened(str(place.room)):
        pass
