"""A claimed job's files: what has to be on the disk when its artifact is."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from support.clips import make_clip
from support.damaged import SHORT, noisy, spoil
from support.spec_texts import text

from povwatch.attempt.attempt import Attempt
from povwatch.core.errors import DiskFull, JobFailed, OutputsNotWritable, Shortage, WriteFailed
from povwatch.media.run import call
from povwatch.spec.parse import parse

pytestmark = pytest.mark.usefixtures("forked_media_children")


@pytest.fixture
def attempt(tmp_path):
    clip = make_clip(tmp_path / "a.mp4")
    (tmp_path / "room").mkdir()
    info = call("inspect", {"path": str(clip), "kind": "mp4"}, timeout=60)
    spec = parse(text(video_path="a.mp4"), clip_name=b"a.mp4", file="").model_dump(mode="json", by_alias=True)
    return Attempt(str(tmp_path / "room"), info, spec)


def prepare(attempt, inputs):
    attempt.prepare(inputs, b"a.mp4", lambda _: None, threading.Event())


def test_copies_survive_a_power_cut(attempt, tmp_path, monkeypatch):
    """What finishing needs is synced, and its folder last."""
    synced, fsync = [], os.fsync

    def noted(fd):
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    prepare(attempt, tmp_path)
    assert {attempt.source, attempt.prepared["times"]} <= set(synced)
    assert synced[-1] == attempt.folder


def test_damage_found_by_preparing(tmp_path):
    """A key frame behind it said that all of the clip is there."""
    attempt = with_damage(tmp_path)
    assert (attempt.info["frames"], attempt.info["damage"]) == (40, None)
    prepare(attempt, tmp_path)
    assert attempt.info["frames"] == attempt.prepared["frames"] < 40
    assert attempt.info["damage"]["lost"] == 40 - attempt.prepared["frames"]


def test_control_for_undecoded_frames(tmp_path):
    """A control video for frames that do not decode is refused."""
    noisy(tmp_path / "depth.mp4")
    attempt = with_damage(tmp_path, depth={"control_weight": 1.0, "control_path": "depth.mp4"})
    with pytest.raises(JobFailed, match=r"of the clip's 40 frames decode\. depth\.control_path \(depth\.mp4\)"):
        prepare(attempt, tmp_path)


def with_damage(folder, **fields):
    clip = spoil(noisy(folder / "a.mp4", options=SHORT), 15)
    (folder / "room").mkdir()
    info = call("inspect", {"path": str(clip), "kind": "mp4"}, timeout=60)
    spec = parse(text(video_path="a.mp4", **fields), clip_name=b"a.mp4", file="").model_dump(mode="json", by_alias=True)
    return Attempt(str(folder / "room"), info, spec)


@pytest.mark.parametrize(
    ("code", "error"),
    [(errno.EIO, WriteFailed), (errno.EROFS, OutputsNotWritable), (errno.ENOSPC, DiskFull), (errno.EMFILE, Shortage)],
)
def test_disk_is_blamed_not_the_clip(attempt, tmp_path, monkeypatch, code, error):
    """A disk that does not keep the copies is blamed, not the clip."""

    def fails(_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(error, match=os.strerror(code)):
        prepare(attempt, tmp_path)
