"""Handles a frame's planes as arrays, for what FFmpeg does not do: turn, pad, cut, measure.

This is apart from picture.py, which is all that most clips need: importing numpy takes as long as looking at a short
clip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from av.video.frame import VideoFrame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from povwatch.media.turn import Turn

    Plane = NDArray[np.uint8]


def upright(frame: VideoFrame, turn: Turn, size: tuple[int, int]) -> VideoFrame:
    """A yuv420p frame, padded at the right and bottom with its own edge to an even `size` as stored, then turned."""
    width, height = size
    y, u, v = planes(frame)
    y = np.pad(y, ((0, height - frame.height), (0, width - frame.width)), mode="edge")
    return assemble([turn.apply(plane) for plane in (y, u, v)], "yuv420p", like=frame)


def cut(frame: VideoFrame, panel: tuple[int, int], pad: Sequence[int], panels: int) -> VideoFrame:
    """A planar 4:4:4 frame without the `pad` pixels at the left, top, right and bottom of each of its panels.

    Args:
        panel: width and height of one picture before the cut.
    """
    left, top, right, bottom = pad
    width, height = panel
    parts = [
        np.hstack([plane[top : height - bottom, x * width + left : (x + 1) * width - right] for x in range(panels)])
        for plane in planes(frame)
    ]
    return assemble(parts, frame.format.name, like=frame)


def planes(frame: VideoFrame) -> list[Plane]:
    """The planes of an 8-bit planar frame as views, each of shape (height, width)."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    ]


def assemble(parts: Sequence[Plane], pix_fmt: str, *, like: VideoFrame) -> VideoFrame:
    """A new planar frame from its planes; colours are tagged like those of `like`."""
    height, width = parts[0].shape
    frame = VideoFrame(width, height, pix_fmt)
    for target, part in zip(planes(frame), parts, strict=True):
        target[:] = part
    frame.colorspace, frame.color_range = like.colorspace, like.color_range
    frame.color_primaries, frame.color_trc = like.color_primaries, like.color_trc
    return frame


def contrast(frame: VideoFrame) -> float:
    """Standard deviation of the luma, in steps of 8 bits, over every fourth row and column."""
    return float(planes(frame)[0][::4, ::4].std())
