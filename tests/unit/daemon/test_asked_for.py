"""What the engine here does not have, and files that do not fit the clip: said while the JSON can be edited."""

from __future__ import annotations

import dataclasses
import errno
import subprocess
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from support.clips import make_clip
from support.posts import GRACE, INVALID, QUEUED, Post, inspected

from povwatch.config.settings import Config
from povwatch.core.job import JobState, Waiting
from povwatch.daemon.drain import is_drained, outcome


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    return inspected(tmp_path_factory.mktemp("clip"), frames=12)


def app(post):
    """What --once goes by, where nothing but the gate keeps it."""
    idle = SimpleNamespace(idle=True)
    return SimpleNamespace(
        config=Config(),
        store=post.store,
        root=SimpleNamespace(away=None),
        folder_monitor=SimpleNamespace(scanned_at=0.0, clips=lambda: {b"a.mp4"}),
        arrival=SimpleNamespace(moving=False),
        background=idle,
        inspections=idle,
        blockers=SimpleNamespace(starting=lambda: None, generating=lambda _: None),
        hooks=SimpleNamespace(idle=True, stuck=lambda _: False),
    )


@pytest.fixture
def at(tmp_path, info):
    """Makes a clip at the gate of an engine."""
    made = []

    def post(kind="toy.py:Engine", *, clip=info, **engine):
        made.append(Post(tmp_path, clip, kind=kind, **engine))
        made[0].admit()
        return made[0]

    yield post
    made[0].close()


def test_unloaded_control_waits_for_an_edit(at):
    """A clip that asks for a control that is not loaded waits for an edit."""
    post = at("cosmos")
    post.edit(edge=None, depth={})
    post.until(1010)
    assert post.at() == INVALID
    text = post.error.read_text()
    assert "line 1, column" in text
    assert "depth is asked for, but the model that is loaded takes edge only." in text
    assert 'set engine.controls = ["edge", "vis", "depth", "seg"]' in text
    post.edit(edge={"control_weight": 1.0}, depth=None)
    post.until(1020)
    assert post.at() == GRACE
    assert not post.error.exists()


def test_gap_names_the_engine_that_can(at):
    """What diffusers lacks is told with the engine that can do it."""
    post = at("diffusers", controls=("edge", "depth"))
    post.edit(edge={"control_weight": 1.0, "mask_prompt": "hands"}, depth={}, context_frame_index=3)
    post.until(1010)
    assert post.at() == INVALID
    text = post.error.read_text()
    assert "4 things to put right" in text
    for words in ("depth is asked for beside edge", "depth.control_path is missing", "no masks", "no style frame"):
        assert words in text
    assert text.count('engine.kind = "cosmos" can do it') == 4


def test_preview_takes_everything(at):
    post = at("preview")
    post.edit(depth={}, seg={"mask_prompt": "hands"}, context_frame_index=3)
    post.until(1010)
    assert post.at() == GRACE


def test_too_long_clip_takes_max_frames(at, info):
    """A clip that is too long is refused, and passes with max_frames."""
    post = at("cosmos", clip=dataclasses.replace(info, frames=6000))
    post.until(1010)
    assert post.at() == INVALID
    assert "the clip has 6,000 frames; the cosmos engine makes 5,000 at most" in post.job.detail
    post.edit(max_frames=5000)
    post.until(1020)
    assert post.at() == GRACE


def test_clip_too_large_for_memory(at, info):
    """A clip that upstream cannot decode into memory is told so."""
    post = at("cosmos", clip=dataclasses.replace(info, frames=4999, display_width=2**20, display_height=2**20))
    post.until(1010)
    assert post.at() == INVALID
    assert "the clip's 4,999 frames of 1048576x1048576 take" in post.job.detail
    assert "which decodes as it goes" in post.error.read_text()


def test_ignored_field_is_a_warning(at, capsys):
    """What has no effect here is a warning."""
    post = at("cosmos", controls=("edge", "vis", "depth", "seg"))
    post.edit(edge={"control_weight": 1.0}, context_frame_index=3)
    post.until(1010)
    assert post.at() == GRACE
    assert "context_frame_index has no effect on the model of all four controls" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"frames": 9}, "edge.control_path has 9 frames at 30 a second, the clip has 12 frames at 30 a second"),
        ({"size": (64, 64)}, "edge.control_path is 64x64, the clip is 96x64"),
        ({"fps": 25}, "edge.control_path has 25 frames a second, the clip has 30"),
        ({"rotation": 180}, "edge.control_path is turned or mirrored"),
    ],
)
def test_control_of_another_shape(at, shape, words):
    """A control of another shape is refused with both numbers, and passes once it fits."""
    post = at()
    make_clip(post.inputs / "edge.mp4", **({"frames": 12} | shape))
    post.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"})
    post.measured(1010)
    assert post.at() == INVALID
    assert words in post.job.detail
    (post.inputs / "edge.mp4").unlink()
    make_clip(post.inputs / "edge.mp4", frames=12)
    post.measured(1020)
    assert post.at() == GRACE
    assert not post.error.exists()


def test_control_that_fits_max_frames(at):
    """A control for max_frames, at another spelling of the rate, fits."""
    post = at()
    make_clip(post.inputs / "edge.mkv", frames=7, fps=Fraction(30_000, 1001))
    post.edit(max_frames=7, edge={"control_weight": 1.0, "control_path": "edge.mkv"})
    post.measured(1010)
    post.until(1130)
    assert post.at() == QUEUED


def test_no_start_before_control_is_known(at):
    """No clip starts before its control was measured."""
    post = at()
    make_clip(post.inputs / "edge.mp4", frames=12)
    post.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"}, povwatch={"start": "now"})
    post.until(1003)
    assert post.at() == GRACE
    assert post.job.detail == "the file of edge.control_path is held against the clip first"
    post.measured(1010)
    assert post.at() == QUEUED
    assert post.gates.spec_of(post.job).edge.control_path == "edge.mp4"


def test_control_replaced_in_the_queue(at):
    """A control that is replaced in the queue is measured anew."""
    post = at()
    make_clip(post.inputs / "edge.mp4", frames=12)
    post.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"}, povwatch={"start": "now"})
    post.measured(1010)
    assert post.at() == QUEUED
    make_clip(post.inputs / "new.mp4", frames=5).rename(post.inputs / "edge.mp4")
    assert post.gates.spec_of(post.job) is None
    post.measured(1020)
    assert post.at() == INVALID


def test_text_is_refused_unopened(at):
    """What is no video is refused without being opened."""
    post = at()
    (post.inputs / "edge.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    post.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"})
    post.until(1010)
    assert post.at() == INVALID
    assert "a list of other files" in post.job.detail


def test_cut_control_says_so(at):
    post = at()
    whole = make_clip(post.inputs / "edge.mp4", frames=12)
    whole.write_bytes(whole.read_bytes()[:300])
    post.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"})
    post.measured(1010)
    assert post.at() == INVALID
    assert "edge.control_path cannot be used" in post.job.detail


def test_mask_is_measured_by_its_header(at):
    """A mask in an array is measured by its header."""
    post = at("cosmos")
    np.savez(post.inputs / "mask.npz", np.zeros((9, 64, 96), np.uint8))
    post.edit(guided_generation_mask="mask.npz")
    post.measured(1010)
    assert "guided_generation_mask has 9 frames, the clip has 12 frames" in post.job.detail
    np.savez(post.inputs / "mask.npz", np.zeros((12, 64, 96), np.uint8))
    post.measured(1020)
    assert post.at() == GRACE
    np.savez(post.inputs / "mask.npz", other=np.zeros((12, 64, 96), np.uint8))
    post.measured(1030)
    assert "It holds no array arr_0" in post.job.detail
    np.savez(post.inputs / "mask.npz", np.zeros((12, 64, 96), bool))
    post.measured(1040)
    assert "type bool, not (frames, height, width) of uint8" in post.job.detail


def test_cosmos_reads_some_formats_alone(at):
    post = at("cosmos")
    make_clip(post.inputs / "edge.mkv", frames=12)
    post.edit(edge={"control_weight": 1.0, "control_path": "edge.mkv"})
    post.until(1010)
    assert "edge.control_path ends in '.mkv', which upstream does not read" in post.job.detail


def test_unmeasured_is_not_judged(at, monkeypatch):
    """A machine that cannot measure a file says nothing about it, and --once does not wait for ever."""

    def refuse(*_, **__):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    post = at()
    make_clip(post.inputs / "control.mp4", frames=12)
    post.edit(edge={"control_path": "control.mp4"})
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        post.measured(1020)
        assert post.at() == GRACE
        post.measured(1040)
        assert post.at() == GRACE
        assert "is held against the clip first" in post.job.detail
        assert not is_drained(app(post))
        for again in (1050, 1060):
            post.measured(again)
        assert post.at() == (JobState.GRACE, Waiting.PAUSED)
        assert "the file of edge.control_path cannot be held against the clip now: " in post.job.detail
        assert "TasksMax" in post.job.detail
        assert is_drained(app(post)), "--once would wait without end"
        assert outcome(app(post), stopped=False).unable == post.job.detail
    post.measured(1080)
    assert post.at() == GRACE
    assert "is held against" not in post.job.detail


def test_killed_measurement_judges_nothing(at, monkeypatch):
    """A measurement that was killed says nothing about the file."""
    start, killed = subprocess.Popen, []

    def kill(*args, **kwargs):
        process = start(*args, **kwargs)
        process.kill()
        killed.append(process)
        return process

    post = at()
    make_clip(post.inputs / "control.mp4", frames=12)
    post.edit(edge={"control_path": "control.mp4"})
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", kill)
        post.measured(1020)
        assert len(killed) == 1
        assert post.at() == GRACE
        assert "is held against the clip first" in post.job.detail
    post.measured(1040)
    post.measured(1060)
    assert post.at() == GRACE
    assert "is held against" not in post.job.detail
