"""Decodes sound: the time, length and form of each of its frames."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

import av.error

from povwatch.media.source import read_only
from povwatch.media.spans import Span, spans

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from av.audio.codeccontext import AudioCodecContext
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

OF_THE_FILE = frozenset(
    {errno.EINVAL, errno.ENOSYS, errno.ERANGE, errno.EOPNOTSUPP, errno.EDOM, errno.EPERM, errno.ENOENT}
)
"""Errors with which FFmpeg reports a file that it cannot handle."""

FFMPEG = 4096
"""The kernel's error numbers are below this; FFmpeg's own are above."""


@dataclass(slots=True)
class Heard:
    """The decoder's output."""

    moments: list[float | None] = field(default_factory=list)
    """Seconds at which each frame sounds."""
    lengths: list[float] = field(default_factory=list)
    """Seconds that each frame lasts."""
    forms: list[int] = field(default_factory=list)
    """Each frame's index in `kinds`."""
    kinds: list[tuple[str, int, tuple[str, ...]]] = field(default_factory=list)
    """Sample format, rate and channel names of each form."""
    timed: bool = True
    """Whether the timestamps are real. AVI has none: FFmpeg computes them from bytes."""
    packets: int = 0
    damaged: int = 0
    """Packets that do not decode."""

    @property
    def seconds(self) -> float:
        """Length of all frames together."""
        return sum(self.lengths)

    @property
    def spans(self) -> list[Span]:
        """The frames' spans."""
        told = self.moments if self.timed else [*self.moments[:1], *[None] * (len(self.moments) - 1)]
        return spans(told, self.lengths, self.forms)

    def note(self, frame: AudioFrame, names: tuple[str, ...]) -> None:
        """Add a frame."""
        kind = (frame.format.name, frame.sample_rate, names)
        if kind not in self.kinds:
            self.kinds.append(kind)
        self.moments.append(
            None if frame.pts is None else float(frame.pts * (frame.time_base or Fraction(1, frame.sample_rate)))
        )
        self.lengths.append(frame.samples / frame.sample_rate)
        self.forms.append(self.kinds.index(kind))


def decoder_of(stream: AudioStream) -> AudioCodecContext | None:
    """The decoder of a sound; None if FFmpeg has none for its codec."""
    return stream.codec_context  # its type does not admit None


def listened(container: InputContainer, stream: AudioStream, report: Callable[[float], None] = lambda _: None) -> Heard:
    """Decode all of a sound."""
    heard = Heard()
    for frame, names in frames(container, stream, heard, report):
        heard.note(frame, names)
    return heard


def frames(
    container: InputContainer,
    stream: AudioStream,
    heard: Heard | None = None,
    report: Callable[[float], None] = lambda _: None,
) -> Iterator[tuple[AudioFrame, tuple[str, ...]]]:
    """Every frame that decodes, and the names of its channels; others are skipped."""
    counted = Heard() if heard is None else heard
    named = _unshared(stream.codec_context)
    size = container.size or 1
    read_only(container, stream)
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError as error:
            see_whose(error)
            return  # the unreadable rest is missing, like packets that do not decode
        if packet is None:
            return
        counted.packets += bool(packet.size)
        report(0.5 * (packet.pos or 0) / size)
        try:
            decoded = packet.decode()
        except av.error.FFmpegError as error:
            see_whose(error)
            counted.damaged += bool(packet.size)
            continue
        for frame in decoded:
            names = tuple(channel.name for channel in frame.layout.channels)
            if frame.samples and frame.sample_rate and names:
                yield frame, named if set(names) == {"NONE"} and len(named) == len(names) else names


def _unshared(context: AudioCodecContext) -> tuple[str, ...]:
    """The channels' names by the container; afterwards the decoder knows only their number.

    PyAV 18.1 returns a layout whose order is the file's own (`chan` in MOV) without copying its list of channels, and
    frees that list with each such object: the process aborts. Here the layout is requested once, and removed from the
    decoder before it is freed.
    """
    layout = context.layout
    names = tuple(channel.name for channel in layout.channels)
    if names:
        context.layout = f"{len(names)} channels"
    return names


def see_whose(error: Exception) -> None:
    """Raise an error again if it says nothing about the sound: the disk is full, memory is short."""
    code = error.errno if isinstance(error, av.error.FFmpegError) else None
    if code is not None and code < FFMPEG and code not in OF_THE_FILE:
        raise error
