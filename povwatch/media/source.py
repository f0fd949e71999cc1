"""Opens a video file safely: pinned demuxer, one inode, the real video stream, its frames in order.

A file that is called .mp4 may hold a playlist that makes FFmpeg open other files of this machine. So the caller names
the demuxer by the file's signature, and FFmpeg may use no other.
"""

from __future__ import annotations

import contextlib
import errno
import os
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
from av.packet import Packet
from av.stream import Discard

from povwatch.container import signature
from povwatch.core.errors import NotAVideo
from povwatch.core.layout import shown
from povwatch.core.machine_faults import TODO
from povwatch.media import times
from povwatch.media.damage import Damage, Tally
from povwatch.media.errors import NoProcess, TooLarge
from povwatch.media.ffmpeg_errors import reading
from povwatch.media.info import Bounds
from povwatch.media.plain import plain
from povwatch.media.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

DEMUXERS = {str(kind): name for kind, name in signature.DEMUXERS.items()} | {"mov": "mov", "webm": "matroska"}
"""Container to FFmpeg's demuxer for it."""

UNPROBED = {"probesize": "32", "analyzeduration": "0"}
"""Options that make FFmpeg trust the header about its streams, and read no packet to find out."""

PROBED = 16 * 2**20
"""Bytes from a file's start in which FFmpeg may probe the streams: 5 MB, and the cluster around that point."""

THREADS_MAX = 8
"""Decoder threads: each holds frames of its own, and address space is limited."""

MAX_PIXELS = Bounds().pixels

NOT_REAL = ("attached_pic", "timed_thumbnails")
"""Dispositions of picture streams that are no video, such as cover art."""

# PyAV's log stays off, its default. Switched on, a decoder thread that logs waits for the interpreter's lock, while
# whoever frees the decoder holds that lock and waits for the thread: a deadlock (seen with PyAV 18.1).


class Source:
    """An open video file. Its frames are read once, in the order of showing."""

    def __init__(
        self, fd: int, name: str, kind: str, container: InputContainer, *, exact: bool = False, lenient: bool = False
    ) -> None:
        self.fd = fd
        self.name = name
        self.kind = kind
        self.container = container
        self.exact = exact
        self.lenient = lenient
        self.stream = _real_video(container, name)
        # A frame may say that it is larger than the file said; the decoder refuses it before it takes any memory.
        self.stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        self.stream.thread_type = "NONE" if exact else "AUTO"
        self.stream.thread_count = 1 if exact else min(THREADS_MAX, os.cpu_count() or 1)
        self.tally = Tally(self.stream.codec_context.name)
        """Counts what was decoded so far."""
        self.packets_read = 0
        self._too_large: list[TooLarge] = []

    @property
    def base(self) -> Fraction:
        """Seconds a tick of the video stream."""
        return self.stream.time_base or Fraction(1, 90_000)

    @property
    def audio(self) -> AudioStream | None:
        """The sound track that a player would choose."""
        return next(iter(self.sounds), None)

    @property
    def sounds(self) -> list[AudioStream]:
        """All sound tracks in the order in which a player chooses: those marked as default first."""
        return sorted(self.container.streams.audio, key=lambda stream: not _disposed(stream.disposition, "default"))

    @property
    def rates(self) -> tuple[Fraction | None, ...]:
        """Frame rates that the container claims, the likeliest first."""
        return (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate)

    @property
    def damaged(self) -> int:
        """Packets that did not decode so far."""
        return len(self.tally.failed)

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """Every video packet; the empty one that flushes the decoder is last.

        Raises:
            FFmpegError: the file cannot be read any further, and is not read leniently.
            OSError: the machine refuses the read.
        """
        read_only(self.container, self.stream)
        try:
            with reading(self.fd):
                for packet in self.container.demux(self.stream):
                    self.packets_read += bool(packet.size)
                    yield packet
        except av.error.MemoryError as error:
            raise MemoryError from error
        except av.error.FFmpegError:
            if not self.lenient:
                raise
            flush = cast("Packet[VideoStream]", Packet())
            flush.stream = self.stream
            yield flush

    def moment(self, packet: Packet[VideoStream]) -> int | None:
        """When a packet is shown, in ticks of `base`; by its index if the container does not say."""
        return packet.dts if self.kind == "avi" or packet.pts is None else packet.pts

    def decode(self, packet: Packet[VideoStream]) -> list[VideoFrame]:
        """The frames that the decoder outputs for a packet.

        Raises:
            TooLarge: a frame is larger than the limit, whatever the file said before.
            NoProcess: the decoder's threads could not be started.
            MemoryError: memory is short, which says nothing about the file.
            FFmpegError: the packet does not decode.
        """
        try:
            return packet.decode()
        except av.error.ArgumentError as error:
            if self.stream.codec_context.width:
                raise
            # the error for pictures beyond max_pixels, which resets the size
            raise TooLarge(
                f"{self.name} holds a picture that the decoder refuses, as one of more than {MAX_PIXELS} pixels.",
                "Export it again, all of it in one size.",
            ) from error
        except av.error.MemoryError as error:
            raise MemoryError from error  # as Python's own, which does not mean damage
        except av.error.BlockingIOError as error:  # the kernel's answer to the decoder, not about the file
            raise NoProcess(f"No thread could be started to decode {self.name}.", TODO[errno.EAGAIN]) from error

    def frames(self, each: Callable[[Packet[VideoStream]], None] = lambda _: None) -> Iterator[VideoFrame]:
        """Every frame that a player would show; `tally` counts those that were lost.

        A packet that does not decode is counted and skipped, as in players. `each` gets each packet before it is
        decoded.
        """
        for packet in self.packets():
            moment = self.count_packet(packet)
            each(packet)
            yield from self.decode_counted(packet, moment)
        self.check_sizes()

    def count_packet(self, packet: Packet[VideoStream]) -> int:
        """Count a packet that goes into the decoder; return when it is shown."""
        moment = self.moment(packet)
        if moment is None:
            moment = len(self.tally.promised)
        if packet.size and not packet.is_discard:
            self.tally.packet(moment, bytes(memoryview(packet)[:1]), packet.size)
        return moment

    def decode_counted(self, packet: Packet[VideoStream], moment: int) -> list[VideoFrame]:
        """Decode a packet and count its frames; none if it does not decode."""
        try:
            frames = self.decode(packet)
        except (TooLarge, av.error.FFmpegError) as error:
            if isinstance(error, TooLarge):
                self._too_large.append(error)
            if not self.exact or not packet.is_discard:  # with several threads the error may be another packet's
                self.tally.fail(moment)
            return []
        for frame in frames:
            self.tally.frame(frame.pts, concealed=frame.is_corrupt, interlaced=frame.interlaced_frame)
        return frames

    def check_sizes(self) -> None:
        """Check, after all packets were decoded, whether most of them failed because of their size.

        A single such packet may be damaged in the bytes that give its size.

        Raises:
            TooLarge: most of them did.
        """
        if 2 * len(self._too_large) > self.packets_read:
            raise self._too_large[0]

    def times(self) -> list[int]:
        """When the frames that were read so far are shown, in ticks of `base`."""
        shown = self.tally.shown
        if self.kind == "avi":
            # AVI has no times of showing: chunk i is shown from i on, whatever the order of decoding
            promised = self.tally.promised
            if len(promised) == len(shown):
                return times.fill_gaps(sorted(promised), 1)
            # some chunk did not decode; if frames are reordered, FFmpeg's guesses are out of order and late
            guesses = times.fill_gaps(shown, 1)
            late = 0 if list(shown) == guesses else max(0, guesses[0] - promised[0])
            return [guess - late for guess in guesses]
        return times.fill_gaps(shown, self.step)

    @property
    def step(self) -> int:
        """Ticks of `base` of one frame, as the container claims."""
        rate = next((r for r in self.rates if r), Fraction(30))
        return max(1, round(1 / (rate * self.base)))

    def damage(self, missing: str = "") -> Damage | None:
        """The damage, once all of the file was read; None without any. `missing`: what the file lacks, for people."""
        listed = self.stream.frames if self.kind == "mov" else 0
        beyond = max(0, listed - self.packets_read) if self.lenient and listed else 0
        return self.tally.damage(self.times() if self.tally.shown else [], self.base, beyond=beyond, missing=missing)

    @contextmanager
    def reopened(self, *, lenient: bool = False) -> Iterator[Source]:
        """Read the same bytes once more from the front, decoded exactly."""
        with _container(self.fd, self.name, self.kind) as container:
            yield Source(self.fd, self.name, self.kind, container, exact=True, lenient=lenient)


@contextmanager
def opened(
    path: str | bytes, kind: str, options: dict[str, str] | None = None, *, root: str | None = None
) -> Iterator[Source]:
    """Open a video file whose signature is known to be of `kind`.

    Args:
        path: the file, as for `plain`.
        kind: one of DEMUXERS.
        options: further options for the demuxer and the decoders.
        root: the folder that `path` is below, if somebody else may change the path meanwhile.

    Raises:
        NotAVideo: the demuxer does not know the file, it has no video stream, or there is no decoder for that.
        SourceChanged: the file is gone.
    """
    name = shown(os.fsencode(Path(os.fsdecode(path)).name))
    if kind not in DEMUXERS:
        raise NotAVideo(f"{name} is of an unknown kind, {kind!r}.", "Use MP4, MOV, Matroska, WebM or AVI.")
    with plain(path, root) as fd, _container(fd, name, DEMUXERS[kind], options) as container:
        yield Source(fd, name, DEMUXERS[kind], container)


@contextmanager
def _container(fd: int, name: str, demuxer: str, options: dict[str, str] | None = None) -> Iterator[InputContainer]:
    """Open a descriptor's file from its first byte on, with one demuxer and no other."""
    try:
        # by descriptor, so that every pass reads the same bytes, even if the path is replaced meanwhile
        with reading(fd):
            if demuxer == "matroska" and _probing_costs_pictures(fd):
                options = {**(options or {}), **UNPROBED}
            container = _demuxer(fd, demuxer, options)
    except (av.error.InvalidDataError, av.error.EOFError) as error:
        kind = next((kind for kind, known in DEMUXERS.items() if known == demuxer), demuxer)
        raise NotAVideo(
            f"{name} begins like {kind} but cannot be opened as such: {error.strerror}.", "Export it again."
        ) from None
    with container:
        yield container


def _demuxer(fd: int, demuxer: str, options: dict[str, str] | None = None) -> InputContainer:
    return av.open(
        f"/proc/self/fd/{fd}",
        "r",
        format=demuxer,
        options={"format_whitelist": demuxer, "protocol_whitelist": "file", **(options or {})},
        metadata_errors="replace",
    )


def _probing_costs_pictures(fd: int) -> bool:
    """Whether probing a Matroska file's streams makes FFmpeg read fewer of its pictures.

    FFmpeg reads all streams while it probes, and cannot be told to skip one: see `read_only`. A packet of sound that
    cannot be parsed loses the pictures up to the next cluster. Both ways of opening are compared over the probed part,
    so that a file that loses nothing is read as before.
    """
    with _demuxer(fd, "matroska") as container:
        if len(container.streams) == 1:
            return False
        probed = _pictures_begun(container)
    with _demuxer(fd, "matroska", UNPROBED) as container:
        return _pictures_begun(container) > probed


def _pictures_begun(container: InputContainer) -> int:
    """Picture packets in the part of a file that FFmpeg may probe; 0 for a file without pictures."""
    try:
        stream = _real_video(container, "")
    except NotAVideo:
        return 0
    read_only(container, stream)
    count = 0
    with contextlib.suppress(av.error.FFmpegError):  # the clip's reader meets this error again
        for packet in container.demux(stream):
            if packet.pos is not None and packet.pos > PROBED:
                break
            count += bool(packet.size)
    return count


def read_only(container: InputContainer, wanted: Stream) -> None:
    """Make the demuxer skip the packets of every other stream from here on.

    The demuxer parses the packets of a stream that is not skipped. If that fails for one, the Matroska demuxer
    continues at the next cluster, and drops the other streams' packets before it.
    """
    for stream in container.streams:
        stream.discard = Discard.default if stream.index == wanted.index else Discard.all


def turn_of(frame: VideoFrame) -> Turn:
    """How a decoded frame has to be turned, by its display matrix."""
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
