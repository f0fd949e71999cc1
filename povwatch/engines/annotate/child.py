"""The child that computes a control: `python -m povwatch.engines.annotate.child annotate`; see media/child.py.

It runs in the environment of the diffusers engine. Its requests and answers are those of a media child.
"""

from __future__ import annotations

import contextlib
import os
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.core.errors import JobFailed
from povwatch.core.machine_faults import Place
from povwatch.engines import faults, trust
from povwatch.engines.annotate.annotation import MODELS, Annotated
from povwatch.engines.annotate.device import CPU
from povwatch.engines.libraries import INSTALL
from povwatch.engines.port import EngineFailure
from povwatch.media import child
from povwatch.media.info import Prepared
from povwatch.media.probe import digest

if TYPE_CHECKING:
    from collections.abc import Callable

OPERATIONS = {"annotate": ("povwatch.engines.annotate.child:annotate", Place.PREPARE)}

GPU_FAULTS = frozenset({"out-of-memory", "gpu-lost", "gpu-busy", "sticky"})
"""Failures on a GPU after which the CPU does the work anew."""

READ = (".json", ".safetensors", ".txt")
"""Suffixes of a model's files."""


def annotate(
    asked: dict[str, str],
    prepared: dict[str, Any],
    out_path: str,
    *,
    folders: list[str],
    device: dict[str, Any],
    report: Callable[[float], None] = lambda _: None,
) -> Annotated:
    """Write a control of a clip, with a frame for each of its frames.

    Args:
        asked: the Annotation as JSON.
        prepared: the working copy's Prepared as JSON.
        folders: those of the models, in the order of MODELS.
        device: the Device as JSON. If it is a GPU, it is the only one that this process sees.
        report: gets the progress, 0 to 1.

    Raises:
        JobFailed: the prompt finds nothing, a library is too old, or somebody else may change a model's files.
        MediaError: a model computes no numbers.
    """
    began = time.monotonic()
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the libraries are imported, which read it once
    kind, clip = asked["kind"], Prepared.from_json(prepared)
    try:
        files = [path for folder in folders for path in sorted(Path(folder).iterdir()) if path.suffix in READ]
        trust.check_owners(files)
        compute = _computing(kind, asked["prompt"], clip, folders, out_path)
        frames, objects, notes, used = _on(compute, device, report)
    except EngineFailure as failure:
        raise JobFailed(failure.message, failure.todo) from failure
    fd = os.open(out_path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        sha256 = digest(fd)
    finally:
        os.close(fd)
    return Annotated(
        path=out_path,
        sha256=sha256,
        frames=frames,
        width=clip.width,
        height=clip.height,
        kind=kind,
        prompt=asked["prompt"],
        models={model.repository: model.revision for model in MODELS[kind]},
        device=used,
        seconds=round(time.monotonic() - began, 3),
        objects=objects,
        notes=tuple(notes),
    )


Computed = tuple[int, int | None, list[str]]
"""The frames, the segments if they are any, and sentences for the log."""


def _computing(
    kind: str, prompt: str, clip: Prepared, folders: list[str], out_path: str
) -> Callable[[str, Callable[[float], None]], Computed]:
    """A function of torch's device, and of what gets the progress, that writes the control.

    Raises:
        EngineFailure: a library is missing, or too old.
    """
    try:
        if kind == "depth":
            from povwatch.engines.annotate.depth import depth  # noqa: PLC0415 - it needs torch

            def compute(device: str, report: Callable[[float], None]) -> Computed:
                frames, notes = depth(clip, folders[0], out_path, device, report)
                return frames, None, notes

        else:
            from povwatch.engines.annotate.segments import segments  # noqa: PLC0415 - it needs torch

            def compute(device: str, report: Callable[[float], None]) -> Computed:
                return segments(clip, (folders[0], folders[1]), prompt, out_path, device=device, report=report)
    except (ImportError, RuntimeError, OSError) as error:  # torchvision of another build than torch: RuntimeError
        what = f"{kind} cannot be computed with transformers {version('transformers')} here: {faults.root(error)}."
        raise EngineFailure("invalid", what, INSTALL) from error
    return compute


def _on(
    compute: Callable[[str, Callable[[float], None]], Computed],
    device: dict[str, Any],
    report: Callable[[float], None],
) -> tuple[int, int | None, list[str], str]:
    """Compute on the device, and on the CPU if the GPU fails; also the name of the one that did it."""
    import torch  # noqa: PLC0415 - slow to import

    notes = [device["why"]] if device["why"] else []
    if device["name"] != CPU and not torch.cuda.is_available():
        notes.append(f"It was computed on the CPU, because torch {torch.__version__} does not see {device['name']}.")
    elif device["name"] != CPU:
        try:
            whole = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, device["memory"] / whole))
            return *compute("cuda", report), device["name"]
        except RuntimeError as error:
            kind, what, _ = faults.classify(error)
            if kind not in GPU_FAULTS:
                raise
            notes.append(f"It was computed on the CPU, because {device['name']} failed: {what}")
        with contextlib.suppress(RuntimeError):  # a GPU that has failed may refuse this, too
            torch.cuda.empty_cache()
    frames, objects, said = compute("cpu", report)
    return frames, objects, [*notes, *said], CPU


if __name__ == "__main__":
    child.main(OPERATIONS)
