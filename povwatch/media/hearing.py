"""Sound as it comes out of the decoder: when each frame of it sounds, how long, and in which form."""

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
"""Errors that FFmpeg reports of a file that it does not know what to do with."""

FFMPEG = 4096
"""No error of the kernel has such a number; those that are FFmpeg's own are above."""


@dataclass(slots=True)
class Heard:
    """What came out of the decoder."""

    moments: list[float | None] = field(default_factory=list)
    """Seconds at which each frame sounds."""
    lengths: list[float] = field(default_factory=list)
    """Seconds that it lasts."""
    forms: list[int] = field(default_factory=list)
    """Its place in `kinds`."""
    kinds: list[tuple[str, int, tuple[str, ...]]] = field(default_factory=list)
    """Sample format, rate and names of the channels of each form."""
    timed: bool = True
    """Whether the timestamps mean something. AVI has none: FFmpeg makes them up, from bytes."""
    packets: int = 0
    damaged: int = 0
    """Packets that do not decode."""

    @property
    def seconds(self) -> float:
        """How long all of it lasts."""
        return sum(self.lengths)

    @property
    def spans(self) -> list[Span]:
        """Where it goes."""
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
    """What decodes a sound; None where FFmpeg has nothing for its codec."""
    return stream.codec_context  # typed as if there always were one


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
    """Every frame that decodes, and the names of its channels; what does not is passed over."""
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
            return  # what cannot be read is missing, as its packets that do not decode
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
    """The names of the channels by the container; from now on the decoder has their number alone.

    PyAV 18.1 hands out a layout whose order is the file's own (`chan` in MOV) without copying the list of its channels,
    and frees that list with each object that it handed out: the process aborts. Here it is handed out once, and taken
    away from the decoder before it is freed.
    """
    layout = context.layout
    names = tuple(channel.name for channel in layout.channels)
    if names:
        context.layout = f"{len(names)} channels"
    return names


def see_whose(error: Exception) -> None:
    """Raise an error again that says nothing about the sound: the disk is full, memory is short."""
    code = error.errno if isinstance(error, av.error.FFmpegError) else None
    if code is not None and code < FFMPEG and code not in OF_THE_FILE:
        raise error
