"""A claimed job's files: what has to be on the disk when its artifact is."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from clips import make_clip
from spec_texts import text

from povwatch.daemon.runs.workpiece import Workpiece
from povwatch.media.run import call
from povwatch.publish.faults import WriteFailed
from povwatch.spec import parse


@pytest.fixture
def piece(tmp_path):
    clip = make_clip(tmp_path / "a.mp4")
    (tmp_path / "room").mkdir()
    info = call("inspect", {"path": str(clip), "kind": "mp4"}, timeout=60)
    spec = parse(text(video_path="a.mp4"), clip_name=b"a.mp4", file="").model_dump(mode="json", by_alias=True)
    return Workpiece(str(tmp_path / "room"), info, spec)


def prepare(piece, inputs):
    piece.prepare(inputs, b"a.mp4", lambda _: None, threading.Event())


def test_what_finishing_needs_survives_a_power_cut(piece, tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def noted(fd):
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    prepare(piece, tmp_path)
    assert {piece.source, piece.prepared["times"]} <= set(synced)
    assert synced[-1] == piece.folder


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
def test_a_disk_that_does_not_keep_the_copies_costs_the_attempt_and_does_not_blame_the_clip(
    piece, tmp_path, monkeypatch, code
):
    def fails(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(WriteFailed, match=os.strerror(code)):
        prepare(piece, tmp_path)


def test_a_disk_that_is_full_when_the_copies_are_kept_is_told_as_that(piece, tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        prepare(piece, tmp_path)
