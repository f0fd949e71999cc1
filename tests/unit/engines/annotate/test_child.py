"""The child's work in this process: what it answers, and what it does where a GPU or a model is not as it should be."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from support import tiny_needs

tiny_needs.skip_without()

from support.deferred import Deferred  # noqa: E402

from povwatch.core.errors import JobFailed  # noqa: E402
from povwatch.engines.annotate import child, presence  # noqa: E402
from povwatch.engines.annotate.annotation import DEPTH_ANYTHING, Annotated  # noqa: E402

torch = Deferred("torch")
depth = Deferred("povwatch.engines.annotate.depth")

pytestmark = pytest.mark.usefixtures("annotators", "one_thread")

GPU = {"name": "NVIDIA H200", "uuid": "GPU-0", "memory": 3 * 10**9, "why": ""}

NO_GPU = {"name": "cpu", "uuid": "", "memory": 0, "why": "The GPU is full."}


def annotate(clip, device=NO_GPU, folders=None):
    folders = folders or [str(path) for path in presence.folders("depth")]
    asked = {"kind": "depth", "prompt": ""}
    return child.annotate(asked, clip.to_json(), "depth.mp4", folders=folders, device=device)


def test_answer(clip):
    """The answer has the file's digest, the frames, the model's commit, the device and what is to be said."""
    found = annotate(clip(frames=3))
    assert found == Annotated(
        path="depth.mp4",
        sha256=hashlib.sha256(Path("depth.mp4").read_bytes()).hexdigest(),
        frames=3,
        width=64,
        height=48,
        kind="depth",
        prompt="",
        models={DEPTH_ANYTHING.repository: DEPTH_ANYTHING.revision},
        device="cpu",
        seconds=found.seconds,
        notes=("The GPU is full.",),
    )
    assert Annotated.from_json(found.to_json()) == found


def test_torch_without_the_gpu(clip):
    """Where torch does not see the GPU that was chosen, the CPU computes, and the log says so."""
    found = annotate(clip(frames=1), GPU)
    assert found.device == "cpu"
    assert found.notes == (f"It was computed on the CPU, because torch {torch.__version__} does not see NVIDIA H200.",)


@pytest.mark.parametrize("full", [True, False])
def test_gpu_that_fails(clip, monkeypatch, full):
    """After the GPU's memory ran out the CPU computes all anew; another failure is raised."""
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB") if full else RuntimeError("shape")
    whole, tried = depth.depth, []

    def compute(clip, folder, out_path, device, report):
        tried.append(device)
        if device == "cuda":
            raise error
        return whole(clip, folder, out_path, device, report)

    class Properties:
        total_memory = 140 * 10**9

    monkeypatch.setattr("povwatch.engines.annotate.depth.depth", compute)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda _: None)
    if not full:
        with pytest.raises(RuntimeError, match="shape"):
            annotate(clip(frames=1), GPU)
        return
    found = annotate(clip(frames=1), GPU)
    assert (tried, found.device) == (["cuda", "cpu"], "cpu")
    assert found.notes[0].startswith("It was computed on the CPU, because NVIDIA H200 failed: ")
    assert "out of memory" in found.notes[0]


def test_class_that_transformers_lacks(clip, monkeypatch):
    """A transformers without a class fails in words, and names its version."""
    monkeypatch.setitem(sys.modules, "povwatch.engines.annotate.depth", None)
    with pytest.raises(JobFailed, match=r"depth cannot be computed with transformers [0-9.]+ here: ") as failed:
        annotate(clip(frames=1))
    assert "pip install" in failed.value.todo


def test_model_that_anybody_may_change(clip, tmp_path):
    """A model's file that everybody may write to is not loaded."""
    folder = tmp_path / "model"
    folder.mkdir()
    for file in presence.folders("depth")[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "model.safetensors").chmod(0o666)
    with pytest.raises(JobFailed, match=r"Everybody may write to .*model.safetensors"):
        annotate(clip(frames=1), folders=[str(folder)])
