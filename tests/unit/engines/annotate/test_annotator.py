"""The daemon's side, without a child: tests/acceptance/test_computed_controls.py has one."""

from __future__ import annotations

import threading

import pytest

from povwatch.config.settings import Config, Engine
from povwatch.core.errors import JobFailed
from povwatch.engines.annotate import annotator, presence
from povwatch.engines.annotate.annotation import Annotation
from povwatch.engines.annotate.annotator import Annotator, limits
from povwatch.engines.annotate.device import Device
from povwatch.gpu.nvml import Gpus
from povwatch.media.errors import MediaStopped


def make(one, cancelled, folder):
    prepared = {"path": "working.mp4", "frames": 3}
    report = {"report": lambda _: None, "cancelled": cancelled}
    return one.make(Annotation("depth"), prepared, folder=str(folder), out_path="depth.mp4", **report)


def test_missing_model_fails_before_a_child(tmp_path, monkeypatch):
    """A model that has gone since the JSON was read fails the job in words, before a process starts."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(presence, "version", lambda _: "5.0")
    monkeypatch.setattr(annotator, "call", pytest.fail)
    with pytest.raises(JobFailed, match=r"depth.control_path is missing, and depth-anything/.*, which computes depth"):
        make(Annotator.of(Config()), threading.Event(), tmp_path)


def test_control_waits_for_its_turn(tmp_path, monkeypatch):
    """One control is computed at a time; one that waits is given up once it is cancelled."""
    monkeypatch.setattr(presence, "lacking", lambda _: ("", ""))
    monkeypatch.setattr(annotator, "call", pytest.fail)
    one = Annotator.of(Config(engine=Engine(controls=("edge", "depth"))))
    cancelled = threading.Event()
    cancelled.set()
    with one.turn, pytest.raises(MediaStopped):
        make(one, cancelled, tmp_path)


def test_child_sees_one_gpu_or_none(tmp_path, monkeypatch):
    """The child gets one GPU or none in its environment, and no limit of address space on a GPU."""
    asked = []
    monkeypatch.setattr(presence, "lacking", lambda _: ("", ""))
    monkeypatch.setattr(annotator, "call", lambda *args, **named: asked.append((args, named)) or {})
    make(Annotator((), 1, Gpus), threading.Event(), tmp_path)
    (((operation, args), named),) = asked
    assert (operation, args["device"]["name"]) == ("annotate", "cpu")
    assert named["program"].environment == {"CUDA_VISIBLE_DEVICES": ""}
    assert named["limits"].memory == annotator.MEMORY
    assert limits(Device("NVIDIA H200", "GPU-0", 10**9), 60).memory is None
