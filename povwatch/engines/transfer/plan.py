"""Divides a clip into chunks, and chooses the size that it is generated at. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

STEP = 16
"""Width and height are multiples of it: 8 pixels a latent, 2 latents a patch."""

SIZES: dict[str, tuple[tuple[int, int], ...]] = {
    "1080": ((1024, 1024), (1440, 1056), (1056, 1440), (1920, 1056), (1056, 1920)),
    "1024": ((1024, 1024), (1280, 1024), (1024, 1280), (1280, 768), (768, 1280)),
    "720": ((960, 960), (960, 704), (704, 960), (1280, 704), (704, 1280)),
    "512": ((512, 512), (640, 512), (512, 640), (640, 384), (384, 640)),
    "480": ((480, 480), (640, 480), (480, 640), (768, 432), (432, 768)),
    "480p": ((640, 640), (640, 480), (480, 640), (832, 480), (480, 832)),
    "720p": ((960, 960), (960, 720), (720, 960), (1280, 720), (720, 1280)),
    "720robocasa": ((720, 720), (960, 720), (720, 960), (1280, 720), (720, 1280)),
    "256": ((256, 256), (320, 256), (256, 320), (320, 192), (192, 320)),
}
"""Width and height that the model was trained at, by the spec's `resolution`; the fourth is 16:9.

Source: upstream's VIDEO_RES_SIZE_INFO (cosmos_transfer2/_src/predict2/datasets/utils.py at 2ff49d0)."""

WIDE = 3

NEAR = 0.03
"""A clip whose shape is this close to one of those sizes (relative) gets it: 16:9 is 2.3 % off 1280x704."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Frames `start` to `end` (exclusive), which are generated together."""

    index: int
    start: int
    end: int
    fresh: int
    """The first frame that no earlier chunk has."""


def chunks(frames: int, length: int, carried: int) -> list[Chunk]:
    """Divide a clip into chunks as the pipeline does: each begins with the last `carried` frames of the one before.

    The pipeline's rule, `range(0, frames - carried, length - carried)`, finds no chunk in a clip of `carried` frames or
    fewer; here that is one chunk.

    Args:
        frames: in the clip, at least 1.
        length: frames in a chunk.
        carried: fewer than `length`.
    """
    starts = range(0, max(frames - carried, 1), length - carried)
    return [
        Chunk(index, start, min(start + length, frames), start + carried if index else 0)
        for index, start in enumerate(starts)
    ]


def size(
    width: int, height: int, resolution: str, pixels: int | None = None, limit: int | None = None
) -> tuple[int, int]:
    """The width and height that a clip of `width` by `height` is generated at.

    One of the model's own sizes if the shape is near enough. Else the clip's own shape, with about as many pixels as
    the 16:9 size.

    Args:
        resolution: a key of SIZES.
        pixels: number of pixels to use instead.
        limit: largest width or height in pixels for which the model has positions.
    """
    shape = width / height
    if pixels is None:
        best = min(SIZES[resolution], key=lambda one: abs(one[0] / one[1] / shape - 1))
        if abs(best[0] / best[1] / shape - 1) <= NEAR:
            return best
        wide = SIZES[resolution][WIDE]
        pixels = wide[0] * wide[1]
    scale = sqrt(pixels / (width * height))
    if limit is not None:
        scale = min(scale, limit / max(width, height))
    return (_multiple(width * scale), _multiple(height * scale))


def _multiple(length: float) -> int:
    return max(STEP, round(length / STEP) * STEP)
