"""Writes pictures without loss: what is read again has every value. Python 3.10 and PyAV 16, as the cosmos engine has.

A grey picture is written as FFV1, a coloured one as H.264 in RGB without quantization, both in MP4. Measured at
1280x704: edges take 5 ms and 28 kB a frame as FFV1 (110 kB as H.264), a blurred picture 10 ms and 340 kB as H.264
(31 ms and 405 kB as FFV1); reading takes as long as writing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange

from povwatch.media.h264 import THREADS_MAX

if TYPE_CHECKING:
    from fractions import Fraction
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

GREY = ("ffv1", "gray", {"level": "3", "slices": "4", "coder": "0"})
"""Codec, pixel format and options: coder 0 takes half of the time of the other one, and a quarter more bytes."""

COLOUR = ("libx264rgb", "rgb24", {"qp": "0", "preset": "ultrafast"})


class LosslessWriter:
    """A video being written; a context manager. The file is whole, and on the disk, when the block ends."""

    def __init__(self, path: str, rate: Fraction, size: tuple[int, int], *, grey: bool) -> None:
        """Begin the file.

        Args:
            path: ends in .mp4.
            rate: frames a second.
            size: width and height.
            grey: whether the three channels of each picture are alike.
        """
        self.path = path
        self.frames = 0
        """Frames written so far."""
        self._grey = grey
        self._rate = rate
        codec, self._format, options = GREY if grey else COLOUR
        self._container = av.open(path, "w", format="mp4")
        stream: Any = self._container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = self._format
        stream.codec_context.color_range = ColorRange.JPEG  # a grey value is meant as it is, also by other readers
        stream.codec_context.thread_count = min(THREADS_MAX, os.cpu_count() or 1)
        self._stream = stream

    def add(self, picture: NDArray[Any]) -> None:
        """Write the next picture: RGB, uint8, shape (height, width, 3)."""
        shown = np.ascontiguousarray(picture[:, :, 0] if self._grey else picture)
        frame = VideoFrame.from_ndarray(shown, format=self._format)
        frame.pts, frame.time_base = self.frames, 1 / self._rate
        frame.color_range = ColorRange.JPEG
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._container:
            if kind is None:
                self._container.mux(self._stream.encode(None))
        if kind is None:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
