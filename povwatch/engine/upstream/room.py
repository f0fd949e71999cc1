"""Whether a job fits into this machine, as far as that can be known before it runs. Pure.

Upstream holds whole clips in memory, and meets its largest demand at the very end, when all the GPU time is spent.
"""

from __future__ import annotations

from typing import Any

from povwatch.engine.fit import Shape
from povwatch.engine.port import EngineFailure
from povwatch.engine.upstream.ability import CHANNELS, GIB, undecodable
from povwatch.engine.upstream.arguments import wanted_frames

FLOAT32 = 4
"""Bytes a value of a control on the GPU when it is enlarged to the clip's size: 11.6 GiB for 500 frames at 1080p."""


def check(job: dict[str, Any], main_memory: int, gpu_memory: int | None) -> None:
    """Refuse a job that cannot fit.

    Args:
        job: as `generate` gets it.
        main_memory: bytes that this machine has.
        gpu_memory: bytes of GPU memory that a job can use; None where there is no GPU to ask.

    Raises:
        EngineFailure: It cannot; the message has both numbers.
    """
    problem = undecodable(Shape(job["frames"], job["width"], job["height"]), main_memory)
    if problem is not None:
        raise EngineFailure("invalid", problem.sentence, problem.todo)
    picture = job["width"] * job["height"] * CHANNELS
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
