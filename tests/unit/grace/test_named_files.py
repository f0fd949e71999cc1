"""What the engine here does not have, and files that do not fit the clip: said while the JSON can be edited."""

from __future__ import annotations

import dataclasses
import errno
import subprocess
import zipfile
from fractions import Fraction

import numpy as np
import pytest
from support.clip_in_grace import GRACE, INVALID, QUEUED, ClipInGrace, inspected
from support.clips import make_clip

from povwatch.core.job import JobState, Waiting
from povwatch.daemon.drain import is_drained, outcome

pytestmark = pytest.mark.usefixtures("forked_media_children")


@pytest.fixture(scope="module")
def info(tmp_path_factory):
    return inspected(tmp_path_factory.mktemp("clip"), frames=12)


@pytest.fixture
def at(tmp_path, info):
    """Makes a clip in its grace, with the configuration of an engine."""
    made = []

    def at(kind="toy.py:Engine", *, info=info, **engine):
        made.append(ClipInGrace(tmp_path, info, kind=kind, **engine))
        made[0].admit()
        return made[0]

    yield at
    made[0].close()
    made[0].no_bug()


def test_unloaded_control_waits_for_an_edit(at):
    """A clip that asks for a control that is not loaded waits for an edit."""
    clip = at("cosmos")
    clip.edit(edge=None, depth={})
    clip.until(1010)
    assert clip.at() == INVALID
    text = clip.error.read_text()
    assert "line 1, column" in text
    assert "depth is asked for, but the model that is loaded takes edge only." in text
    assert 'set engine.controls = ["edge", "vis", "depth", "seg"]' in text
    clip.edit(edge={"control_weight": 1.0}, depth=None)
    clip.until(1020)
    assert clip.at() == GRACE
    assert not clip.error.exists()


def test_gap_names_the_engine_that_can(at):
    """What diffusers lacks is told with the engine that can do it."""
    clip = at("diffusers", controls=("edge", "depth"))
    clip.edit(edge={"control_weight": 1.0, "mask_prompt": "hands"}, depth={}, context_frame_index=3)
    clip.until(1010)
    assert clip.at() == INVALID
    text = clip.error.read_text()
    assert "3 things to put right" in text
    for words in ("depth.control_path is missing", "makes no masks", "no style frame"):
        assert words in text
    assert text.count('engine.kind = "cosmos" can do it') == 3


def test_preview_takes_everything(at):
    clip = at("preview")
    clip.edit(depth={}, seg={"mask_prompt": "hands"}, context_frame_index=3)
    clip.until(1010)
    assert clip.at() == GRACE


def test_too_long_clip_takes_max_frames(at, info):
    """A clip that is too long is refused, and passes with max_frames."""
    clip = at("cosmos", info=dataclasses.replace(info, frames=6000))
    clip.until(1010)
    assert clip.at() == INVALID
    assert "the clip has 6,000 frames; the cosmos engine makes 5,000 at most" in clip.job.detail
    clip.edit(max_frames=5000)
    clip.until(1020)
    assert clip.at() == GRACE


def test_clip_too_large_for_memory(at, info):
    """A clip that upstream cannot decode into memory is told so."""
    clip = at("cosmos", info=dataclasses.replace(info, frames=4999, display_width=2**20, display_height=2**20))
    clip.until(1010)
    assert clip.at() == INVALID
    assert "the clip's 4,999 frames of 1048576x1048576 take" in clip.job.detail
    assert "which decodes as it goes" in clip.error.read_text()


def test_ignored_field_is_a_warning(at, capsys):
    """What has no effect here is a warning."""
    clip = at("cosmos", controls=("edge", "vis", "depth", "seg"))
    clip.edit(edge={"control_weight": 1.0}, context_frame_index=3)
    clip.until(1010)
    assert clip.at() == GRACE
    assert "context_frame_index has no effect on the model of all four controls" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"frames": 9}, "edge.control_path has 9 frames at 30 a second, the clip has 12 frames at 30 a second"),
        ({"size": (64, 64)}, "edge.control_path is 64x64, the clip is 96x64"),
        ({"fps": 25}, "edge.control_path has 25 frames a second, the clip has 30"),
        ({"rotation": 180}, "edge.control_path has rotation or mirror metadata"),
    ],
)
def test_control_of_another_shape(at, shape, words):
    """A control of another shape is refused with both numbers, and passes once it fits."""
    clip = at()
    make_clip(clip.inputs / "edge.mp4", **({"frames": 12} | shape))
    clip.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"})
    clip.measured(1010)
    assert clip.at() == INVALID
    assert words in clip.job.detail
    (clip.inputs / "edge.mp4").unlink()
    make_clip(clip.inputs / "edge.mp4", frames=12)
    clip.measured(1020)
    assert clip.at() == GRACE
    assert not clip.error.exists()


def test_control_that_fits_max_frames(at):
    """A control for max_frames, at another spelling of the rate, fits."""
    clip = at()
    make_clip(clip.inputs / "edge.mkv", frames=7, fps=Fraction(30_000, 1001))
    clip.edit(max_frames=7, edge={"control_weight": 1.0, "control_path": "edge.mkv"})
    clip.measured(1010)
    clip.until(1130)
    assert clip.at() == QUEUED


def test_no_start_before_control_is_known(at):
    """No clip starts before its control was measured."""
    clip = at()
    make_clip(clip.inputs / "edge.mp4", frames=12)
    clip.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"}, povwatch={"start": "now"})
    clip.until(1003)
    assert clip.at() == GRACE
    assert clip.job.detail == "the file of edge.control_path is compared with the clip first"
    clip.measured(1010)
    assert clip.at() == QUEUED
    assert clip.grace.spec_of(clip.job).edge.control_path == "edge.mp4"


def test_control_replaced_in_the_queue(at):
    """A control that is replaced in the queue is measured anew."""
    clip = at()
    make_clip(clip.inputs / "edge.mp4", frames=12)
    clip.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"}, povwatch={"start": "now"})
    clip.measured(1010)
    assert clip.at() == QUEUED
    make_clip(clip.inputs / "new.mp4", frames=5).rename(clip.inputs / "edge.mp4")
    assert clip.grace.spec_of(clip.job) is None
    clip.measured(1020)
    assert clip.at() == INVALID


def test_text_is_refused_unopened(at):
    """What is no video is refused without being opened."""
    clip = at()
    (clip.inputs / "edge.mp4").write_text("ffconcat version 1.0\nfile a.mp4\n")
    clip.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"})
    clip.until(1010)
    assert clip.at() == INVALID
    assert "a list of other files" in clip.job.detail


def test_cut_control_says_so(at):
    clip = at()
    whole = make_clip(clip.inputs / "edge.mp4", frames=12)
    whole.write_bytes(whole.read_bytes()[:300])
    clip.edit(edge={"control_weight": 1.0, "control_path": "edge.mp4"})
    clip.measured(1010)
    assert clip.at() == INVALID
    assert "edge.control_path cannot be used" in clip.job.detail


def test_mask_of_another_size(at):
    """diffusers scales a mask, but no control, and counts the frames of both; cosmos scales neither."""
    clip = at("diffusers", controls=("edge", "vis"))
    make_clip(clip.inputs / "mask.mp4", frames=12, size=(64, 64))
    np.savez(clip.inputs / "kept.npz", np.zeros((12, 10, 10), np.uint8))
    clip.edit(edge={"mask_path": "mask.mp4"}, guided_generation_mask="kept.npz")
    clip.measured(1020)
    assert clip.at() == GRACE
    np.savez(clip.inputs / "kept.npz", np.zeros((11, 10, 10), np.uint8))
    clip.edit(edge={"mask_path": "mask.mp4"}, vis={"control_path": "mask.mp4"}, guided_generation_mask="kept.npz")
    clip.measured(1040)
    assert clip.at() == INVALID
    text = clip.error.read_text()
    assert "2 things to put right" in text
    assert "vis.control_path is 64x64, the clip is 96x64" in text
    assert "guided_generation_mask has 11 frames, the clip has 12 frames" in text
    said = {"descr": "|u1", "fortran_order": False, "shape": (12, 2**15, 2**15)}
    with zipfile.ZipFile(clip.inputs / "kept.npz", "w") as file, file.open("arr_0.npy", "w") as huge:
        np.lib.format.write_array_header_1_0(huge, said)
    clip.edit(edge={}, vis=None, guided_generation_mask="kept.npz")
    clip.measured(1060)
    assert "guided_generation_mask is 32768x32768, the clip is 96x64" in clip.error.read_text()


def test_mask_is_measured_by_its_header(at):
    """A mask in an array is measured by its header."""
    clip = at("cosmos")
    np.savez(clip.inputs / "mask.npz", np.zeros((9, 64, 96), np.uint8))
    clip.edit(guided_generation_mask="mask.npz")
    clip.measured(1010)
    assert "guided_generation_mask has 9 frames, the clip has 12 frames" in clip.job.detail
    np.savez(clip.inputs / "mask.npz", np.zeros((12, 64, 96), np.uint8))
    clip.measured(1020)
    assert clip.at() == GRACE
    np.savez(clip.inputs / "mask.npz", other=np.zeros((12, 64, 96), np.uint8))
    clip.measured(1030)
    assert "It holds no array arr_0" in clip.job.detail
    np.savez(clip.inputs / "mask.npz", np.zeros((12, 64, 96), bool))
    clip.measured(1040)
    assert "type bool, not (frames, height, width) of uint8" in clip.job.detail


def test_cosmos_reads_some_formats_alone(at):
    clip = at("cosmos")
    make_clip(clip.inputs / "edge.mkv", frames=12)
    clip.edit(edge={"control_weight": 1.0, "control_path": "edge.mkv"})
    clip.until(1010)
    assert "edge.control_path ends in '.mkv', which upstream does not read" in clip.job.detail


def test_unmeasured_is_not_judged(at, monkeypatch):
    """A machine that cannot measure a file says nothing about it, and --once does not wait for ever."""

    def refuse(*_, **__):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    clip = at()
    (clip.inputs / ".controls").mkdir()
    make_clip(clip.inputs / ".controls/edge.mp4", frames=12)
    clip.edit(edge={"control_path": ".controls/edge.mp4"})
    clip.rescan()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        clip.measured(1020)
        assert clip.at() == GRACE
        clip.measured(1040)
        assert clip.at() == GRACE
        assert "is compared with the clip first" in clip.job.detail
        assert not is_drained(clip.app)
        for again in (1050, 1060):
            clip.measured(again)
        assert clip.at() == (JobState.GRACE, Waiting.PAUSED)
        assert "the file of edge.control_path cannot be compared with the clip now: " in clip.job.detail
        assert "TasksMax" in clip.job.detail
        assert is_drained(clip.app), "--once would wait without end"
        assert outcome(clip.app, stopped=False).unable == clip.job.detail
    clip.measured(1080)
    assert clip.at() == GRACE
    assert "is compared with" not in clip.job.detail


def test_killed_measurement_judges_nothing(at, monkeypatch):
    """A measurement that was killed says nothing about the file."""
    start, killed = subprocess.Popen, []

    def kill(*args, **kwargs):
        process = start(*args, **kwargs)
        process.kill()
        killed.append(process)
        return process

    clip = at()
    make_clip(clip.inputs / "control.mp4", frames=12)
    clip.edit(edge={"control_path": "control.mp4"})
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", kill)
        clip.measured(1020)
        assert len(killed) == 1
        assert clip.at() == GRACE
        assert "is compared with the clip first" in clip.job.detail
    clip.measured(1040)
    clip.measured(1060)
    assert clip.at() == GRACE
    assert "is compared with" not in clip.job.detail
