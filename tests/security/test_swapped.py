"""Paths that are one thing when they are looked at and another when they are opened."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from support.clips import make_clip
from support.spec_texts import text

from povwatch.arrival.inspections import Inspection, inspect
from povwatch.attempt.attempt import Attempt
from povwatch.attempt.engine_files import complete
from povwatch.core.errors import NotAVideo, SourceChanged
from povwatch.grace.named_files import measure
from povwatch.media.run import call
from povwatch.spec.parse import parse

pytestmark = pytest.mark.usefixtures("forked_media_children")


@pytest.fixture
def root(tmp_path):
    """inputs/, with a folder in it that has become a symlink to one outside."""
    (tmp_path / "inputs").mkdir()
    (tmp_path / "outside").mkdir()
    make_clip(tmp_path / "outside" / "a.mp4")
    np.savez(tmp_path / "outside" / "m.npz", np.zeros((2, 4, 4), np.uint8))
    (tmp_path / "inputs" / "d").symlink_to("../outside")
    return tmp_path / "inputs"


@pytest.mark.parametrize("name", [b"d/a.mp4", b"d", b"../outside/a.mp4", b"/etc/hostname"])
def test_clip_through_a_symlink(root, name):
    """A clip is not looked into through a symlink."""
    with pytest.raises((SourceChanged, NotAVideo)):
        inspect(threading.Event(), Inspection.PACKETS, root, name, {"kind": "mp4"})


@pytest.mark.parametrize(("name", "kind"), [(b"d/a.mp4", "mp4"), (b"d/m.npz", "npz")])
def test_named_file_through_a_symlink(root, name, kind):
    """A file that a JSON names is not measured through a symlink."""
    with pytest.raises(SourceChanged):
        measure(root, name, kind)
    (root / "d").unlink()
    (root.parent / "outside").rename(root / "d")
    assert measure(root, name, kind).frames > 0


def make(path, kind, secret):
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "symlink":
        path.symlink_to(secret)
    elif kind == "hard link":
        os.link(secret, path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        os.mknod(path, 0o140600)
    else:
        path.write_bytes(CONTENTS[kind])


CONTENTS = {
    "empty": b"",
    "ffconcat": b"ffconcat version 1.0\nfile secret.mp4\n",
    "list": b"file 'secret.mp4'\n" * 9,
    "m3u8": b"#EXTM3U\n#EXTINF:1,\nsecret.mp4\n",
}
SWAPPED = ["fifo", "symlink", "hard link", "folder", "socket", "empty", "ffconcat", "list", "m3u8", "gone"]


@pytest.mark.parametrize("kind", SWAPPED)
@pytest.mark.parametrize("field", ["edge.control_path", "edge.mask_path", "image_context_path"])
def test_named_file_swapped_after_judging(tmp_path, field, kind):
    """Between the last look at the JSON and the copy."""
    inputs, room = tmp_path / "inputs", tmp_path / "room"
    inputs.mkdir()
    room.mkdir()
    secret = make_clip(tmp_path / "secret.mp4")
    clip = make_clip(inputs / "a.mp4")
    info = call("inspect", {"path": str(clip), "kind": "mp4"}, timeout=60)
    control, _, key = field.rpartition(".")
    changes = {control: {key: "c.mp4"}} if control else {key: "c.mp4"}
    spec = parse(text(video_path="a.mp4", **changes), clip_name=b"a.mp4", file="")
    if kind != "gone":
        make(inputs / "c.mp4", kind, secret)
    piece = Attempt(str(room), info, spec.model_dump(mode="json", by_alias=True))
    piece.prepare(inputs, b"a.mp4", lambda _: None, threading.Event())
    with pytest.raises(SourceChanged, match=r"inputs/c\.mp4"):
        complete(piece, inputs, b"a.mp4", threading.Event())


def test_second_name_and_fitting_file(tmp_path):
    """A clip may have a second name, and a named file that fits is copied."""
    inputs, room = tmp_path / "inputs", tmp_path / "room"
    inputs.mkdir()
    room.mkdir()
    os.link(make_clip(tmp_path / "card.mp4"), inputs / "a.mp4")
    make_clip(inputs / "c.mp4")
    info = call("inspect", {"path": str(inputs / "a.mp4"), "kind": "mp4"}, timeout=60)
    spec = parse(text(video_path="a.mp4", edge={"control_path": "c.mp4"}), clip_name=b"a.mp4", file="")
    piece = Attempt(str(room), info, spec.model_dump(mode="json", by_alias=True))
    piece.prepare(inputs, b"a.mp4", lambda _: None, threading.Event())
    complete(piece, inputs, b"a.mp4", threading.Event())
    assert (room / "edge_control_path.mp4").read_bytes() == (inputs / "c.mp4").read_bytes()
