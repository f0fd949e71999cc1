"""Writes an engine's frames as H.264 in MP4."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import numpy as np
from av.video.frame import VideoFrame

from povwatch.media import encode
from povwatch.media.picture import Fitted
from povwatch.media.times import Even

if TYPE_CHECKING:
    from fractions import Fraction
    from types import TracebackType

    from povwatch.engines.control import Frame


class VideoWriter:
    """A video being written; a context manager. The file is whole when the block ends."""

    def __init__(
        self, path: str, rate: Fraction, panel: tuple[int, int], quality: dict[str, str], *, panels: int = 1
    ) -> None:
        """`panel` is the width and height of one picture, `panels` the pictures side by side in a frame."""
        self.path = path
        self.frames = 0
        """Frames written so far."""
        self._quality = quality
        self._fit = Fitted(panel, panels=panels)
        self._grid = Even(rate)
        self._stack = ExitStack()
        self._container = self._stack.enter_context(encode.mp4(path, self._grid.timescale))
        self._encoder: encode.Encoder | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the video."""
        return (self._fit.width, self._fit.height)

    def add(self, *pictures: Frame) -> None:
        """Write a frame of pictures side by side, from the left: RGB, shape (height, width, 3)."""
        picture = np.ascontiguousarray(np.hstack(pictures))
        frame = self._fit(VideoFrame.from_ndarray(picture, format="rgb24"))
        if self._encoder is None:
            self._encoder = encode.Encoder(self._container, frame, self._grid, self._quality)
        self._container.mux(self._encoder.add(frame))
        self.frames += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            if kind is None and self._encoder is not None:
                self._container.mux(self._encoder.rest())
