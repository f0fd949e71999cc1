"""Writes the pictures that upstream has made, in place of upstream's own writer.

That writer (_src/imaginaire/utils/easy_io/handlers/imageio_video_handler.py, 157) gives another file each time from the
same pictures, at 0.1 bits a pixel, and a JPEG for a single one. This one gives the same file each time, near lossless,
and always a video. Upstream's PyAV is 16.0, which lacks some of what povwatch.media uses.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.reformatter import ColorRange

from povwatch.media.h264 import BT709, GENERATED, THREADS_MAX

if TYPE_CHECKING:
    from fractions import Fraction

    from povwatch.engines.port import Context


class Writer:
    """Takes the place of upstream's `save_img_or_video` for one job."""

    def __init__(self, rate: Fraction, context: Context) -> None:
        """`rate`: the clip's own; upstream would cut it to a whole number."""
        self._rate = rate
        self._context = context

    def save(self, video: Any, stem: str, **_: Any) -> None:  # noqa: ANN401 - a torch.Tensor, and upstream's options
        """Write a video to `{stem}.mp4`.

        Args:
            video: shape (3 or 1, frames, height, width); floats from 0 to 1, or bytes. A mask has one channel.
            stem: the file's path without suffix.

        Raises:
            EngineCancelled: The job is no longer wanted.
            OSError: The file cannot be written.
        """
        _, frames, height, width = video.shape
        odd = height % 2 or width % 2
        with av.open(f"{stem}.mp4", "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=self._rate, options=GENERATED)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p" if odd else "yuv420p"
            about = stream.codec_context
            about.color_range = ColorRange.MPEG
            about.colorspace = about.color_primaries = about.color_trc = BT709
            about.thread_count = min(THREADS_MAX, os.cpu_count() or 1)
            for n in range(frames):
                self._context.raise_if_cancelled()
                frame = av.VideoFrame.from_ndarray(pixels(video[:, n]), format="rgb24").reformat(
                    format=stream.pix_fmt,
                    dst_colorspace="itu709",
                    src_color_range=ColorRange.JPEG,
                    dst_color_range=ColorRange.MPEG,
                )
                frame.pts, frame.time_base = n, 1 / self._rate
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))


def pixels(picture: Any) -> Any:  # noqa: ANN401 - a torch.Tensor to an array
    """Convert a picture of shape (3 or 1, height, width) to RGB bytes of shape (height, width, 3).

    Values are rounded to the nearest step. Upstream cuts the fraction off (_src/imaginaire/visualize/video.py, 88), and
    what it enlarged to the clip's size were bytes before: a quarter of them would come out one step darker.
    """
    here = picture.cpu()
    if str(here.dtype).endswith("uint8"):
        values = here.numpy()
    else:
        values = np.rint(np.clip(here.float().numpy(), 0, 1) * 255).astype(np.uint8)
    values = np.transpose(values, (1, 2, 0))
    return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))
