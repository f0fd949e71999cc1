"""Whether a job fits into this machine, as far as that can be known before it runs. Pure.

Upstream holds whole clips in memory, and meets its largest demand at the very end, when all the GPU time is spent.
"""

from __future__ import annotations

from typing import Any

from povwatch.engine.port import EngineFailure
from povwatch.engine.upstream.arguments import wanted_frames

CHANNELS = 3

DECODED_COPIES = 2
"""imageio returns every frame, and numpy.stack copies them (_src/transfer2/inference/utils.py, 210 and 234)."""

FLOAT32 = 4
"""Bytes a value of a control on the GPU when it is enlarged to the clip's size: 11.6 GiB for 500 frames at 1080p."""

GIB = 1024**3


def check(job: dict[str, Any], main_memory: int, gpu_memory: int | None) -> None:
    """Refuse a job that cannot fit.

    Args:
        job: as `generate` gets it.
        main_memory: bytes that this machine has.
        gpu_memory: bytes of GPU memory that a job can use; None where there is no GPU to ask.

    Raises:
        EngineFailure: It cannot; the message has both numbers.
    """
    picture = job["width"] * job["height"] * CHANNELS
    decoding = job["frames"] * picture * DECODED_COPIES
    if decoding > main_memory:
        raise EngineFailure(
            "invalid",
            f"The clip's {job['frames']} frames of {job['width']}x{job['height']} take {_gib(decoding)} once decoded, "
            f"and this machine has {_gib(main_memory)} of memory; upstream decodes all of them, whatever max_frames "
            "says.",
            'Cut the clip into parts, or use engine.kind = "diffusers", which decodes as it goes.',
        )
    enlarging = wanted_frames(job) * picture * FLOAT32
    if job["spec"].get("keep_input_resolution", True) and gpu_memory is not None and enlarging > gpu_memory:
        raise EngineFailure(
            "invalid",
            f"Enlarging {wanted_frames(job)} frames to the clip's {job['width']}x{job['height']} at the end takes "
            f"{_gib(enlarging)} of GPU memory, and {_gib(gpu_memory)} can be had.",
            'Set "keep_input_resolution": false, cut the clip into parts, or use engine.kind = "diffusers".',
        )


def main_memory() -> int:
    """Bytes of memory that this machine has."""
    with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
        total = next(line for line in file if line.startswith("MemTotal:"))
    return int(total.split()[1]) * 1024


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
