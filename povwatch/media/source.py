"""A video file, opened safely: pinned demuxer, one inode, the real video stream, its frames in order.

A file that calls itself .mp4 may hold a playlist that makes FFmpeg open other files of this machine. The demuxer is
therefore named by whoever looked at the file's signature, and FFmpeg may use no other.
"""

from __future__ import annotations

import errno
import os
from array import array
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.error

from povwatch.errors import NotAVideo
from povwatch.layout import shown
from povwatch.media import times
from povwatch.media.errors import NO_ROOM, NoProcess, TooLarge
from povwatch.media.info import Bounds
from povwatch.media.plain import plain
from povwatch.media.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

DEMUXERS = {"mp4": "mov", "mov": "mov", "matroska": "matroska", "webm": "matroska", "avi": "avi"}
"""A container's kind, as its signature tells, and FFmpeg's demuxer for it."""

THREADS_MAX = 8
"""Decoder threads: each holds frames of its own, and the address space is limited."""

MAX_PIXELS = Bounds().pixels

NOT_REAL = ("attached_pic", "timed_thumbnails")
"""Dispositions of picture streams that are no video: cover art and the like."""

# PyAV's log stays off, its default. Switched on, a decoder thread that logs waits for the interpreter's lock, while
# whoever frees the decoder holds that lock and waits for the thread: a deadlock (seen with PyAV 18.1).


class Source:
    """An open video file. Its frames are read once, in the order of showing."""

    def __init__(self, fd: int, name: str, kind: str, container: InputContainer) -> None:
        self.fd = fd
        self.name = name
        """For people."""
        self.kind = kind
        self.container = container
        self.stream = _real_video(container, name)
        # A frame may say that it is larger than the file said; the decoder refuses it before it takes any memory.
        self.stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        self.stream.thread_type = "AUTO"
        self.stream.thread_count = min(THREADS_MAX, os.cpu_count() or 1)
        self.damaged = 0
        """Packets that did not decode so far."""
        self._shown: list[int | None] = []
        self._decoded = array("q")

    @property
    def base(self) -> Fraction:
        """Seconds a tick of the video stream."""
        return self.stream.time_base or Fraction(1, 90_000)

    @property
    def audio(self) -> AudioStream | None:
        """The sound that a player would choose."""
        streams = self.container.streams.audio
        marked = [s for s in streams if _disposed(s.disposition, "default")]
        return next(iter((*marked, *streams)), None)

    @property
    def rates(self) -> tuple[Fraction | None, ...]:
        """The frame rates that the container claims, the likeliest first."""
        return (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate)

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """Every video packet, the empty one that flushes the decoder last."""
        yield from self.container.demux(self.stream)

    def decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """The frames that come out of the decoder for a packet.

        Raises:
            TooLarge: one is larger than it may be, whatever the file said before.
            NoProcess: the decoder's threads could not be started.
            MemoryError: there is too little memory: that, too, says nothing about the file.
            FFmpegError: it does not decode.
        """
        try:
            return packet.decode()
        except av.error.ArgumentError as error:  # what it says of pictures beyond max_pixels
            raise TooLarge(
                f"{self.name} holds a picture that the decoder refuses, as one of more than {MAX_PIXELS} pixels.",
                "Export it again, all of it in one size.",
            ) from error
        except av.error.MemoryError as error:
            raise MemoryError from error  # as Python's own, which nobody takes for a file that does not decode
        except av.error.BlockingIOError as error:  # the kernel's answer to the decoder, and not the file's
            raise NoProcess(f"No thread could be started to decode {self.name}.", NO_ROOM[errno.EAGAIN]) from error

    def frames(self) -> Iterator[VideoFrame]:
        """Every frame that a player would show.

        A packet that does not decode is counted and passed over, as players do.
        """
        for packet in self.packets():
            if packet.size and packet.dts is not None:
                self._decoded.append(packet.dts)
            try:
                frames = self.decode(packet)
            except av.error.InvalidDataError:
                self.damaged += 1
                continue
            for frame in frames:
                self._shown.append(frame.pts)
                yield frame

    def times(self) -> list[int]:
        """When the frames read so far are shown, in ticks of `base`."""
        if self.kind == "avi":
            # AVI has no times of showing: chunk i is shown from i on, whatever order it is decoded in
            if len(self._decoded) == len(self._shown):
                return times.mend(sorted(self._decoded), 1)
            # some chunk did not decode; FFmpeg's guesses are out of order and late where frames are reordered
            guesses = times.mend(self._shown, 1)
            late = 0 if list(self._shown) == guesses else max(0, guesses[0] - self._decoded[0])
            return [guess - late for guess in guesses]
        rate = next((r for r in self.rates if r), Fraction(30))
        return times.mend(self._shown, max(1, round(1 / (rate * self.base))))


@contextmanager
def opened(
    path: str | bytes, kind: str, options: dict[str, str] | None = None, *, root: str | None = None
) -> Iterator[Source]:
    """Open a video file whose signature is known to be of `kind`.

    Args:
        path: the file, as `plain` takes it.
        kind: one of DEMUXERS.
        options: further options for the demuxer and the decoders.
        root: the folder that `path` is below, for a path that somebody else may change meanwhile.

    Raises:
        NotAVideo: the demuxer does not know it, it has no video stream, or there is no decoder for that.
        SourceChanged: it is gone.
    """
    name = shown(os.fsencode(Path(os.fsdecode(path)).name))
    if kind not in DEMUXERS:
        raise NotAVideo(f"{name} is of an unknown kind, {kind!r}.", "Use MP4, MOV, Matroska, WebM or AVI.")
    with plain(path, root) as fd:
        demuxer = DEMUXERS[kind]
        try:
            # by descriptor: the same bytes for every pass, whatever is renamed over the path meanwhile
            container = av.open(
                f"/proc/self/fd/{fd}",
                "r",
                format=demuxer,
                options={"format_whitelist": demuxer, "protocol_whitelist": "file", **(options or {})},
                metadata_errors="replace",
            )
        except (av.error.InvalidDataError, av.error.EOFError) as error:
            raise NotAVideo(
                f"{name} begins like {kind} but cannot be opened as such: {error.strerror}.", "Export it again."
            ) from None
        with container:
            yield Source(fd, name, DEMUXERS[kind], container)


def turn_of(frame: VideoFrame) -> Turn:
    """How the decoded frame has to be turned, by its display matrix."""
    items: Any = frame.side_data  # typed as a mapping, but it iterates over its values
    for item in items:
        if item.type.name == "DISPLAYMATRIX":
            return Turn.from_matrix(bytes(item))
    return Turn()


def _real_video(container: InputContainer, name: str) -> VideoStream:
    """The stream that a player would show: the default one, else the first, never cover art."""
    real = [s for s in container.streams.video if not any(_disposed(s.disposition, d) for d in NOT_REAL)]
    if not real:
        if container.streams.audio:
            raise NotAVideo(f"{name} holds sound but no video.", "Put a video file there.")
        raise NotAVideo(f"{name} holds no video stream.", "Put a video file there.")
    chosen = next((s for s in real if _disposed(s.disposition, "default")), real[0])
    if chosen.codec_context is None or not chosen.width or not chosen.height:
        raise NotAVideo(f"{name} holds video that cannot be decoded here.", "Convert it to H.264 in MP4.")
    return chosen


def _disposed(disposition: object, what: str) -> bool:
    from av.stream import Disposition  # noqa: PLC0415 - kept beside its only use

    return bool(int(disposition) & int(Disposition[what]))  # type: ignore[call-overload]
