"""What upstream's own package says where something is missing or damaged, in povwatch's words.

It runs under script/upstream-proof alone. Nothing is downloaded: the cache is offline.
"""

from __future__ import annotations

import shutil
import subprocess

import pytest
from support.clips import make_clip
from support.cosmos_jobs import Desk, job
from support.upstream_packages import CACHE, LONG, PYTHON, Upstream, Worker

from povwatch.models.needs import CHECKPOINTS
from povwatch.process import protocol
from povwatch.workers import events

pytestmark = pytest.mark.timeout(1200)

EDGE = CHECKPOINTS["edge"]

RESHAPE = """
import sys, torch
weights = torch.load(sys.argv[1])
name = next(name for name, one in weights.items() if one.dim() == 2)
weights[name] = torch.zeros(3, 5)
torch.save(weights, sys.argv[2])
"""


@pytest.fixture
def package():
    return Upstream()


@pytest.fixture
def cache(package, tmp_path):
    """A copy of the offline cache, which the package uses."""
    copy = tmp_path / "hf"
    shutil.copytree(CACHE, copy, symlinks=True)
    package.env |= {"HF_HOME": str(copy)}
    return copy


def link(cache):
    """The checkpoint of edge in a cache."""
    folder = cache / "hub" / f"models--{EDGE.repository.replace('/', '--')}"
    return folder / "snapshots" / EDGE.revision / EDGE.files[0]


def refused(package, folder, **config):
    """What is said of a load that fails: kind and words."""
    with Worker(package, folder, **config) as loop:
        loop.start()
        end = loop.until((events.EngineUnavailable, events.EngineLoaded), within=LONG)
    assert isinstance(end, events.EngineUnavailable), "it loaded"
    return end.failure_kind, f"{end.message} {end.todo}"


def test_guardrails_missing(package, tmp_path):
    """Without the guardrails' models nothing is loaded, and the repository is named."""
    kind, words = refused(package, tmp_path, guardrails=True)
    assert kind == "error"
    assert "nvidia/Cosmos-Guardrail1 is not on this machine" in words
    assert "prefetch" in words


def test_checkpoint_missing(package, cache, tmp_path):
    """A checkpoint that is not in the cache is named."""
    link(cache).unlink()
    kind, words = refused(package, tmp_path)
    assert kind == "error"
    assert f"{EDGE.repository} ({EDGE.files[0]}) is not on this machine" in words


def test_checkpoint_cut_short(package, cache, tmp_path):
    """A checkpoint that was cut short is told as that."""
    blob = link(cache).resolve()
    blob.write_bytes(blob.read_bytes()[: blob.stat().st_size // 2])
    kind, words = refused(package, tmp_path)
    assert (kind, "damaged or was cut short" in words) == ("error", True), words
    assert "prefetch" in words


def test_checkpoint_of_another_shape(package, cache, tmp_path):
    """A checkpoint of another model is told as that."""
    blob = link(cache).resolve()
    other = tmp_path / "other.pt"
    subprocess.run([PYTHON, "-c", RESHAPE, blob, other], check=True, cwd=tmp_path)
    shutil.copyfile(other, blob)
    kind, words = refused(package, tmp_path)
    assert (kind, "of another model" in words) == ("invalid", True), words


def test_models_for_controls_missing(package, tmp_path):
    """A job that needs depth, segments or a mask on the fly fails in words where their models are missing."""
    clip = make_clip(tmp_path / "clip.mp4", size=(160, 96), fps=24)
    with Worker(package, tmp_path, controls=["edge", "vis", "depth", "seg"]) as loop:
        desk = Desk(loop.ready(within=LONG), tmp_path)
        told = {}
        asked = {"seg": {"seg": {}}, "depth": {"depth": {}}, "mask": {"edge": {"mask_prompt": "a"}}}
        for name, fields in asked.items():
            desk.begin(job(clip, 12, size=(160, 96), resolution="256", **fields))
            end = loop.until((events.JobFailed, protocol.Generated, events.WorkerLost), within=LONG)
            assert isinstance(end, events.JobFailed), end
            told[name] = str(end.error)
        assert loop.supervisor.pid
    assert "is not on this machine" in told["seg"]
    assert "depth could not be computed" in told["depth"]
    assert "is not on this machine" in told["mask"]
