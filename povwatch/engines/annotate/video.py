"""Reads the clip's frames, and writes control videos and depth maps without loss."""

from __future__ import annotations

from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.frame import VideoFrame

from povwatch.core.errors import CheckFailed
from povwatch.media.ffmpeg_errors import writing
from povwatch.media.lossless import LosslessWriter
from povwatch.media.source import opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from povwatch.media.info import Prepared

    Frame = NDArray[Any]

MAPS_FORMAT = "gray16le"


def frames(clip: Prepared) -> Iterator[Frame]:
    """The working copy's frames, in order: RGB, uint8, shape (height, width, 3).

    Raises:
        CheckFailed: it has not as many frames as it should have.
    """
    count = 0
    with opened(clip.path, "mp4") as source:
        for frame in source.frames():
            count += 1
            yield frame.to_ndarray(format="rgb24")
    if count != clip.frames:
        raise CheckFailed(f"The working copy has {count} frames instead of {clip.frames}.", "It will be made again.")


def write(path: str, clip: Prepared, pictures: Iterable[Frame], *, grey: bool) -> int:
    """Write a control video without loss, at the working copy's rate; returns the number of frames.

    Args:
        pictures: uint8, shape (height, width, 3), RGB; or (height, width, 1), if they are grey.
    """
    rate, size = Fraction(clip.fps_num, clip.fps_den), (clip.width, clip.height)
    with LosslessWriter(path, rate, size, grey=grey) as writer:
        for picture in pictures:
            writer.add(picture)
    return writer.frames


class DepthMaps:
    """Depth maps in a file: float16, not negative, all of one shape. They are too many for memory, and lossless here.

    The bits of such a number, taken as a whole number, grow with it: so neighbours are alike, and FFV1 packs them.
    """

    def __init__(self, path: str) -> None:
        self._path = path

    @contextmanager
    def writing(self) -> Iterator[_MapsWriter]:
        """Write the file anew."""
        with writing(), av.open(self._path, "w", format="matroska") as container:
            writer = _MapsWriter(container)
            yield writer
            writer.end()

    def read(self) -> Iterator[Frame]:
        """The maps, in the order of writing."""
        with av.open(self._path, "r", format="matroska") as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format=MAPS_FORMAT).view(np.float16)


class _MapsWriter:
    def __init__(self, container: av.container.OutputContainer) -> None:
        self._container = container
        self._stream: Any = None

    def add(self, depth: Frame) -> None:
        """Write the next map."""
        if self._stream is None:
            self._stream = self._container.add_stream("ffv1", rate=30)
            self._stream.height, self._stream.width = depth.shape
            self._stream.pix_fmt = MAPS_FORMAT
        bits = np.ascontiguousarray(depth).view(np.uint16)
        self._container.mux(self._stream.encode(VideoFrame.from_ndarray(bits, format=MAPS_FORMAT)))

    def end(self) -> None:
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
