"""Judges whether a control video or a mask fits its clip, frame by frame. Pure, standard library alone, Python 3.10."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from povwatch.core.errors import Problem

RATE_SLACK = Fraction(1, 50)
"""Relative difference in rate that still fits: 29.97 is 30, and an uneven clip has an average, or a usual rate near its
own."""

ARRAY = "arr_0.npy"
"""The mask in an .npz, as numpy.savez names its only array."""

MASK_TODO = "Write it with numpy.savez(FILE, mask.astype(numpy.uint8))."

TODO = "Give a video with one frame for each of the clip's, in the clip's size and rate."


@dataclass(frozen=True)
class Shape:
    """A video's length, size and rate."""

    frames: int
    width: int
    height: int
    rate: Fraction = Fraction(0)
    """Frames a second, on average; 0 if it has none, such as an array."""


def masks(kind: str, size: int) -> bool:
    """Whether an array of this type of values works as a mask in an .npz, as upstream reads it.

    Upstream writes 255 into the array itself wherever a value is set, and divides by 255 later (inference_pipeline.py,
    363-368). Of True that leaves next to nothing, and a signed byte does not hold 255.

    Args:
        kind: NumPy's letter for the kind of values.
        size: bytes of a value.
    """
    return kind in "uf" or (kind == "i" and size > 1)


def misfit(field: str, found: Shape, clip: Shape, wanted: int) -> Problem | None:
    """Why a video that a spec names does not fit; None if it fits.

    Engines use its frame k for frame k of the clip. Upstream notices a video that is too short only in the chunk that
    runs out of it, and stretches one of another size.

    Args:
        field: the spec's field that names it.
        clip: the clip, upright.
        wanted: frames to generate; a video may also have exactly these.
    """
    difference = differs(found, clip, wanted)
    if difference is None:
        return None
    if difference == "frames":
        message = f"has {_length(found)}, the clip has {_length(clip) if found.rate else _frames(clip.frames)}"
        if wanted != clip.frames:
            message += f", of which {wanted} are asked for"
    elif difference == "size":
        message = f"is {found.width}x{found.height}, the clip is {clip.width}x{clip.height}"
    else:
        message = f"has {_rate(found.rate)} frames a second, the clip has {_rate(clip.rate)}"
    return Problem(message, TODO, field)


def differs(found: Shape, clip: Shape, wanted: int) -> Literal["frames", "size", "rate"] | None:
    """The first thing in which a control or a mask does not fit; None if it fits. The arguments are those of `misfit`.

    Sizes are compared as a working copy has them, with odd lengths made even.
    """
    if found.frames not in (clip.frames, wanted):
        return "frames"
    if (even(found.width), even(found.height)) != (even(clip.width), even(clip.height)):
        return "size"
    rates = bool(found.rate) and found.frames > 1
    return "rate" if rates and abs(found.rate - clip.rate) > RATE_SLACK * clip.rate else None


def even(length: int) -> int:
    """The even length that an odd one is padded to."""
    return length + length % 2


def _length(shape: Shape) -> str:
    return f"{_frames(shape.frames)} at {_rate(shape.rate)} a second" if shape.rate else _frames(shape.frames)


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"


def _rate(rate: Fraction) -> str:
    return f"{float(rate):.3f}".rstrip("0").rstrip(".")
