"""The files that a hook has to leave: there, whole, and no link."""

from __future__ import annotations

import threading

import pytest
from support.clips import make_clip

from povwatch.container import reader
from povwatch.hooks.expected import first_problem


def short(path):
    make_clip(path)
    path.write_bytes(path.read_bytes()[:-700])


def damaged(path):
    """Whole by its structure, but for the bytes of its frames."""
    make_clip(path, frames=30)
    data = bytearray(path.read_bytes())
    at = data.index(b"mdat") + 1500
    data[at : at + 400] = b"\xff" * 400
    path.write_bytes(data)


def link(path):
    path.with_name("elsewhere").write_text("{}")
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("a.npz", lambda p: p.write_bytes(b"x"), ""),
        ("a.json", lambda p: p.write_text("[1]"), ""),
        ("a.npz", lambda _: None, "a.npz is not there"),
        ("a.npz", lambda p: p.touch(), "a.npz is empty"),
        ("a.npz", lambda p: p.mkdir(), "a.npz is no plain file"),
        ("a.json", link, "a.json cannot be read (Too many levels of symbolic links; a link counts for nothing)"),
        ("a.json", lambda p: p.write_text("["), "a.json is no JSON"),
        ("a.mp4", lambda p: p.write_text("ffconcat version 1.0\nfile /etc/passwd\n"), "a.mp4 is no video (a list of"),
        ("a.mkv", short, "a.mkv is not whole ("),
        ("a.mp4", damaged, "a.mp4 does not decode after frame "),
    ],
)
def test_each_file_is_checked_by_its_name(tmp_path, name, make, says):
    """JSON has to parse, videos have to decode, and others have to be plain and not empty."""
    make(tmp_path / name)
    found, _ = first_problem([str(tmp_path / name)], threading.Event())
    assert found.startswith(says)
    assert bool(found) == bool(says)


def test_every_frame_is_counted(tmp_path):
    """Every frame of a video is decoded and counted; a missing file is named."""
    paths = [str(make_clip(tmp_path / name, frames=7)) for name in ("a.mp4", "b.avi")]
    assert first_problem(paths, threading.Event()) == ("", {"a.mp4": 7, "b.avi": 7})
    (tmp_path / "b.avi").unlink()
    assert first_problem(paths, threading.Event())[0] == "b.avi is not there"


def test_long_index_is_read_by_a_child(tmp_path, monkeypatch):
    """An index that is too long to be read at once is read by a child, with the same verdicts."""
    monkeypatch.setattr(reader, "BRIEF_TABLES", 0)
    make_clip(tmp_path / "a.mp4", frames=7)
    short(tmp_path / "b.mp4")
    assert first_problem([str(tmp_path / "a.mp4")], threading.Event()) == ("", {"a.mp4": 7})
    assert first_problem([str(tmp_path / "b.mp4")], threading.Event())[0].startswith("b.mp4 is not whole (")
