"""Checks that a job fits into this machine's memory, as far as that is known before it runs. Pure.

Upstream holds whole clips in memory, and needs most at the very end, when all the GPU time is spent.
"""

from __future__ import annotations

from typing import Any

from povwatch.engines.port import EngineFailure
from povwatch.engines.upstream.ability import CHANNELS, GIB, undecodable
from povwatch.engines.upstream.arguments import wanted_frames
from povwatch.media.fit import Shape

FLOAT32 = 4
"""Bytes of a control's value on the GPU when it is enlarged to the clip's size: 11.6 GiB for 500 frames at 1080p."""


def check(job: dict[str, Any], main_memory: int | None, gpu_memory: int | None) -> None:
    """Refuse a job that cannot fit.

    Args:
        job: as `generate` gets it.
        main_memory: bytes that can be used here (`host_memory.total`); None if unknown.
        gpu_memory: bytes of GPU memory that a job can use; None without a GPU.

    Raises:
        EngineFailure: The job cannot fit; the message has both numbers.
    """
    shape = Shape(job["frames"], job["width"], job["height"])
    problem = None if main_memory is None else undecodable(shape, main_memory)
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


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
