"""Writes H.264 in MP4 with exact times: one frame in, one frame out, at its given tick."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from av.video.frame import PictureType

from povwatch.media.ffmpeg_errors import writing
from povwatch.media.h264 import THREADS_MAX
from povwatch.media.times import Even, Grid, decode_times

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from av.container import OutputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

WORKING = {"crf": "8", "preset": "veryfast", "bf": "0", "g": "48", "mbtree": "0"}
"""A working copy: near-lossless, and without B-frames, so that no edit list is needed and any reader gets it right."""

PUBLISHED = {"crf": "12", "preset": "fast", "mbtree": "0"}
"""Options for an artifact that has to be encoded anew.

Both sets leave mbtree out: with mbtree, x264 sometimes makes another file from the same frames, even in one thread."""


@contextmanager
def mp4(path: str, timescale: int) -> Iterator[OutputContainer]:
    """A new MP4 file with its index in front. It appears at `path` at once and is whole when the block ends.

    `timescale` is the clock of the whole file, in ticks a second. A start above zero is stored in these ticks (an empty
    edit), and FFmpeg's default of 1000 would round it.
    """
    options = {"movflags": "+faststart", "movie_timescale": str(timescale)}
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        # by descriptor, so that a path's odd bytes never pass through FFmpeg
        with writing():
            container = av.open(f"/proc/self/fd/{fd}", "w", format="mp4", options=options)
        with ExitStack() as unless:
            unless.callback(container.close)
            yield container
            unless.pop_all()
        with writing():  # most of the file is written now
            container.close()
    finally:
        os.close(fd)


class Encoder:
    """An H.264 stream in a container, with its frames on a grid.

    Args:
        container: gets the stream; other streams have to be added before the first packet is muxed.
        first: a frame in the stream's size, pixel format and colours.
        sample_aspect: width to height of one pixel.
    """

    def __init__(
        self,
        container: OutputContainer,
        first: VideoFrame,
        grid: Grid | Even,
        quality: dict[str, str],
        sample_aspect: Fraction = Fraction(1),
    ) -> None:
        self.grid = grid
        self._lengths: dict[int, int] = {}
        self._count = 0
        base = Fraction(1, grid.timescale)
        stream = container.add_stream("libx264", rate=grid.rate.limit_denominator(2**30), options=quality)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = first.width, first.height, first.format.name
        context.colorspace, context.color_range = first.colorspace, first.color_range
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
        context.sample_aspect_ratio = sample_aspect
        context.time_base = base
        context.thread_count = min(THREADS_MAX, os.cpu_count() or 1)
        stream.time_base = base
        self.stream: VideoStream = stream

    def add(self, frame: VideoFrame) -> list[Packet[VideoStream]]:
        """Encode the next frame; return the packets that are ready to be muxed."""
        frame.pts = self.grid.tick(self._count)
        frame.time_base = Fraction(1, self.grid.timescale)
        frame.pict_type = PictureType.NONE  # a decoded frame carries its old type, which would bind the encoder
        self._lengths[frame.pts] = self.grid.length(self._count)
        self._count += 1
        return self._timed(self.stream.encode(frame))

    def rest(self) -> list[Packet[VideoStream]]:
        """The remaining packets, after the last frame."""
        return self._timed(self.stream.encode(None))

    def _timed(self, packets: Sequence[Packet[VideoStream]]) -> list[Packet[VideoStream]]:
        for packet in packets:
            if packet.pts is not None:
                packet.duration = self._lengths.pop(packet.pts)
        return list(packets)


def retimed(order: Sequence[int], packets: Iterable[Packet[VideoStream]], grid: Grid) -> Iterator[Packet[VideoStream]]:
    """Put encoded packets on a grid unchanged; packet i shows frame `order[i]`."""
    for shown, dts, packet in zip(order, decode_times(order, grid), packets, strict=True):
        packet.time_base = Fraction(1, grid.timescale)
        packet.pts, packet.dts, packet.duration = grid.tick(shown), dts, grid.length(shown)
        yield packet
