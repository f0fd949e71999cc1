"""Decides whether the whole model stays on the GPU. Pure; memory is in bytes.

full: it does. low: the text encoder waits in the host's memory, as pages of its files. Its layers come to the GPU one
after the other for a prompt that is new, and leave it again. The results are the same to the bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from povwatch.core.units import spell_size

if TYPE_CHECKING:
    from collections.abc import Mapping

Memory: TypeAlias = Literal["full", "low"]

NEEDED: dict[Memory, int] = {"full": 35_000_000_000, "low": 22_000_000_000}
"""Bytes of GPU memory for 93 frames at 1280x704. full: 34.1 GB were measured, of them 16.6 GB for the text encoder."""

TEXT_ENCODER = 16_600_000_000
"""Bytes of the text encoder's files; with so much free memory of the host, they are read from the disk once."""


LIMIT = "POVWATCH_GPU_MEMORY"
"""Variable of the environment: bytes of GPU memory that torch may take, so that benchmarks try smaller GPUs."""

WORKING = 11_900_000_000
"""Bytes that a job with one control takes beside all weights, with a mask and not compiled. This and the next two are
measured: benchmarks/results/controls-h200.json."""

SEVERAL = 1_000_000_000
"""Bytes that a job with several controls takes more, beside their nets."""

WORKING_MORE = 1_100_000_000
"""Bytes that each further control takes more than that."""


def needed(asked: str) -> int:
    """Bytes of GPU memory without which the engine does not load; `asked` is a value of engine.memory."""
    return NEEDED["full" if asked == "full" else "low"]


def working(controls: int) -> int:
    """Bytes of GPU memory that a job with so many controls takes beside the weights."""
    return WORKING + (SEVERAL + WORKING_MORE * (controls - 1) if controls > 1 else 0)


def freed(unused: Mapping[str, int], lacking: int) -> list[str]:
    """The control nets that are freed, so that so many bytes more are free, as far as possible.

    Args:
        unused: bytes of each net that may be freed; the first ones go first.
        lacking: may be negative.
    """
    found = []
    for key, size in unused.items():
        if lacking <= 0:
            break
        found.append(key)
        lacking -= size
    return found


def choose(asked: str, room: int | None) -> tuple[Memory, str]:
    """What is used, and a sentence for the log if that was not to be expected.

    Args:
        asked: a value of engine.memory.
        room: GPU memory that the engine can have; None without a GPU.
    """
    if asked == "low":
        return "low", ""
    if asked == "full" or room is None or room >= NEEDED["full"]:
        return "full", ""
    note = (
        f"The GPU has {spell_size(room)} for the engine, and the whole model needs {spell_size(NEEDED['full'])}: "
        "the text encoder waits in the host's memory (engine.memory = low)."
    )
    return "low", note
