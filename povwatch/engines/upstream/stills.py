"""Converts a single frame, which upstream writes as a JPEG, to a video."""

from __future__ import annotations

from typing import TYPE_CHECKING

import av

if TYPE_CHECKING:
    from fractions import Fraction

QUALITY = {"crf": "10", "preset": "veryfast"}


def to_video(picture: str, video: str, rate: Fraction) -> None:
    """Write a video of one frame."""
    with av.open(picture, format="jpeg_pipe") as source, av.open(video, "w", format="mp4") as target:
        frame = next(source.decode(video=0))
        stream = target.add_stream("libx264", rate=rate, options=QUALITY)
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "yuv420p"
        frame.pts = 0
        frame.time_base = 1 / rate
        target.mux(stream.encode(frame.reformat(format="yuv420p")))
        target.mux(stream.encode(None))
