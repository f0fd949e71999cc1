"""Writes the artifact, or a control video, chunk by chunk: H.264 in MP4."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

import numpy as np
from av.video.frame import VideoFrame

from povwatch.media import encode, h264
from povwatch.media.picture import Fitted
from povwatch.media.times import Even

if TYPE_CHECKING:
    from types import TracebackType

    from povwatch.engines.control import Frame
    from povwatch.engines.transfer.request import Request


class Output:
    """The artifact being written; a context manager. The file is whole when the block ends."""

    def __init__(self, path: str, request: Request, *, panels: int) -> None:
        """`panels`: pictures side by side."""
        self.path = path
        self.frames = 0
        """Frames written so far."""
        panel = (request.width, request.height) if request.keep_size else request.size
        self._fit = Fitted(panel, panels=panels)
        self._grid = Even(request.rate)
        self._stack = ExitStack()
        self._container = self._stack.enter_context(encode.mp4(path, self._grid.timescale))
        self._encoder: encode.Encoder | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the artifact."""
        return (self._fit.width, self._fit.height)

    def add(self, panels: list[Frame]) -> None:
        """Write frames.

        Args:
            panels: the pictures side by side, from the left; arrays of shape (frames, height, width, 3), RGB.
        """
        for pictures in zip(*panels, strict=True):
            picture = np.ascontiguousarray(np.hstack(pictures))
            frame = self._fit(VideoFrame.from_ndarray(picture, format="rgb24"))
            if self._encoder is None:
                self._encoder = encode.Encoder(self._container, frame, self._grid, h264.GENERATED)
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
