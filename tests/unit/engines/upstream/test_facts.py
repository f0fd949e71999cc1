import sys
import types
from typing import NamedTuple

import pytest
from support.cosmos_jobs import job

from povwatch.engines.needs import CHECKPOINTS, VAE
from povwatch.engines.port import EngineFailure
from povwatch.engines.upstream import facts, memory
from povwatch.engines.upstream.settings import Settings

COMMIT = "2ff49d0717af02057ae79bc75c00fbff9da1b4e7"
GIB = 1024**3


class Key(NamedTuple):
    variant: str
    distilled: bool


def test_commit_of_a_submodule(tmp_path):
    """The commit of a submodule is read without git."""
    git = tmp_path / ".git/modules/cosmos"
    git.mkdir(parents=True)
    (git / "HEAD").write_text(COMMIT + "\n")
    (tmp_path / "cosmos").mkdir()
    (tmp_path / "cosmos/.git").write_text("gitdir: ../.git/modules/cosmos\n")
    assert facts.commit_of(tmp_path / "cosmos") == COMMIT


def test_no_commit_where_there_is_none(tmp_path):
    """Where there is no checkout, or a branch, there is no commit."""
    assert facts.commit_of(tmp_path) == ""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/HEAD").write_text("ref: refs/heads/main\n")
    assert facts.commit_of(tmp_path) == ""


def test_digest_is_the_blobs_name(tmp_path):
    """The digest of weights is the name of their blob in the cache."""
    digest = "ab" * 32
    (tmp_path / digest).touch()
    (tmp_path / "weights.pt").symlink_to(tmp_path / digest)
    hub = types.SimpleNamespace(repository="o/n", revision="r", filename="f.pt", _path=str(tmp_path / "weights.pt"))
    key = Key("edge", distilled=False)
    checkpoints = {key: types.SimpleNamespace(hf=hub)}
    [found] = facts.weights(checkpoints, ("edge",), distilled=False)
    assert found == {"control": "edge", "repository": "o/n", "revision": "r", "file": "f.pt", "sha256": digest}
    assert facts.weights(checkpoints, ("edge",), distilled=True) == []
    assert facts.weights(checkpoints, ("vis",), distilled=False) == []


def test_cached_files_on_record(tmp_path, monkeypatch):
    """Files of the cache are on record without being read."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    settings = Settings.parse({"controls": ["edge"], "output_dir": str(tmp_path / "out")})
    assert facts.files(settings) == {"files": {}, "revisions": {}}
    (control, vae) = (CHECKPOINTS["edge"], VAE)
    for need in (control, vae):
        folder = tmp_path / "hub" / f"models--{need.repository.replace('/', '--')}"
        (name,) = need.files
        path = folder / "snapshots" / need.revision / name
        path.parent.mkdir(parents=True)
        (folder / "blobs").mkdir()
        (folder / "blobs" / ("ab" * 32)).write_bytes(b"0123456789")
        path.symlink_to(folder / "blobs" / ("ab" * 32))
    found = facts.files(settings)
    assert found["files"][f"{vae.repository}/tokenizer.pth"] == {"size": 10, "sha256": "ab" * 32}
    assert found["revisions"] == {control.repository: control.revision, vae.repository: vae.revision}


def test_without_torch_there_is_no_gpu(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert (facts.gpu_name(), facts.usable_gpu_memory(), facts.peak()) == ("", None, None)
    facts.begin_peak()


def test_memory_for_500_frames_at_1080p():
    """500 frames at 1080p take 11.6 GiB at the end, and are refused where there is less."""
    wanted = job("/c.mp4", 500, size=(1920, 1080))
    memory.check(wanted, 1024 * GIB, 12 * GIB)
    with pytest.raises(EngineFailure, match=r"takes 11.6 GiB of GPU memory, and 11.0 GiB can be had"):
        memory.check(wanted, 1024 * GIB, 11 * GIB)
    memory.check(job("/c.mp4", 500, size=(1920, 1080), keep_input_resolution=False), 1024 * GIB, 11 * GIB)
    memory.check(job("/c.mp4", 500, size=(1920, 1080), max_frames=93), 1024 * GIB, 11 * GIB)
    memory.check(wanted, 1024 * GIB, None)


def test_clip_too_large_to_decode():
    """A clip that does not fit in memory once decoded is refused."""
    with pytest.raises(EngineFailure, match=r"take 57.9 GiB once decoded, and 32.0 GiB of memory can be had here"):
        memory.check(job("/c.mp4", 5000, size=(1920, 1080), max_frames=10), 32 * GIB, None)
    memory.check(job("/c.mp4", 5000, size=(1920, 1080), max_frames=10), None, None)
