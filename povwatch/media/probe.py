"""Looks at a clip that has arrived: its format, and whether all of it is there.

Every packet is demuxed. A faststart file that was cut off has an intact header, so a look at the header proves nothing.

The rule: decoding from the first packet on decides. The last group of pictures is decoded first, from its key frame: if
that works to the very end, all of the clip is there. This shortcut may only say yes: a key frame may be hidden by an
edit list, marked wrongly or not at all, or lie before a damaged packet. Then everything is decoded from the front.
Missing data (packets that are cut off, zeros in place of a frame) keeps a clip waiting. Bytes that are there and do not
decode are damage, which costs only the frames that do not come out.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from array import array
from fractions import Fraction
from typing import TYPE_CHECKING

import av.error

from povwatch.core.errors import NotAVideo
from povwatch.media import times
from povwatch.media.damage import ONE_EACH
from povwatch.media.errors import TooLarge
from povwatch.media.ffmpeg_errors import BLOCK
from povwatch.media.info import NOTHING, Bounds, VideoInfo, text
from povwatch.media.source import Source, opened, turn_of
from povwatch.media.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

NO_ZEROS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mjpeg", "mpeg4", "mpeg2video", "mpeg1video"})
"""Codecs whose packets have no long run of zeros, and none at the beginning. Others may pad with zeros."""

ZEROS = 32
"""Zero bytes in such a packet that mean that its place was reserved but never written."""

RUN = re.compile(rb"\0{%d}" % ZEROS)

UNKNOWN = "unknown"
"""Codec name of sound that FFmpeg cannot decode here."""


def inspect(
    path: str,
    kind: str,
    *,
    root: str | None = None,
    bounds: dict[str, Any] | None = None,
    way: str = "both",
    missing: str = "",
    report: Callable[[float], None] = lambda _: None,
) -> VideoInfo:
    """Look at the clip at `path`.

    Args:
        kind: its container by its signature: mp4, matroska or avi.
        root: the folder that `path` is below, with no symlink on the way; see plain.plain.
        bounds: Bounds as JSON.
        way: `quick` does not decode from the front, `front` does nothing else, `both` does what is needed.
        missing: what is known to be missing; then any frame that decodes is enough.

    Returns:
        The clip's data. If part of it is missing, `complete` is false and `why` says what. It is `undecided` if the way
            is `quick` and only decoding from the front would tell.

    Raises:
        NotAVideo: no video that can be decoded; TooLarge if it is beyond `bounds`.
        SourceChanged: the file is gone.
    """
    limits = Bounds.from_json(bounds or {})
    with opened(path, kind, root=root) as source:
        _check_picture(source, limits)
        info = None if missing or way == "front" else _quick(source, limits, report)
        if info is None:
            if way == "quick":
                return VideoInfo(complete=False, container=source.kind)
            with source.reopened(lenient=bool(missing)) as exact:
                info = _from_the_front(exact, limits, report, missing)
        sha256 = digest(source.fd, report)
        return dataclasses.replace(info, size=os.fstat(source.fd).st_size, sha256=sha256)


def glimpse(
    path: str,
    kind: str,
    *,
    root: str | None = None,
    report: Callable[[float], None] = lambda _: None,  # noqa: ARG001 - every operation has it
) -> VideoInfo:
    """Whether any frame of an incomplete clip decodes: `complete` if one does. Reading stops there.

    Raises:
        NotAVideo: the container cannot be opened, so nothing decodes.
        SourceChanged: the file is gone.
    """
    with opened(path, kind, root=root) as source:
        _check_picture(source, Bounds())
        with source.reopened(lenient=True) as exact:
            first = next(exact.frames(), None)
            return VideoInfo(complete=first is not None, why="" if first is not None else NOTHING)


def digest(fd: int, report: Callable[[float], None] = lambda _: None) -> str:
    """SHA-256 of an open file's bytes, from the first to the last."""
    sha = hashlib.sha256()
    size = os.fstat(fd).st_size or 1
    at = 0
    while data := os.pread(fd, BLOCK, at):
        sha.update(data)
        at += len(data)
        report(0.5 + 0.5 * at / size)
    return sha.hexdigest()


def _quick(source: Source, limits: Bounds, report: Callable[[float], None]) -> VideoInfo | None:
    """Read every packet and decode the end; None if that leaves open whether all of the clip is there."""
    walk = _Walk(source, limits, report)
    why = walk.run()
    if not why and (walk.first is None or not (_ends_well(source, walk) if walk.by_packets else source.tally.clean)):
        return None
    if walk.first is None:
        why = why or NOTHING
    shown = walk.times()
    frames = len(walk.shown) if walk.by_packets else len(source.tally.shown)
    info = _describe(source, walk.first, shown, shown, frames)
    return dataclasses.replace(info, complete=not why, why=why)


def _from_the_front(source: Source, limits: Bounds, report: Callable[[float], None], missing: str) -> VideoInfo:
    """Decode every packet from the first one on; the decoded frames are what the clip shows."""
    first: VideoFrame | None = None
    size = os.fstat(source.fd).st_size or 1
    empty: dict[int, int] = {}
    walked = array("q")

    def look(packet: Packet[VideoStream]) -> None:
        if packet.size and not packet.is_discard:
            moment = source.moment(packet)
            walked.append(len(walked) if moment is None else moment)
            _check_length(source, walked, limits)
            if (at := _zeros(source, packet)) is not None:
                empty[walked[-1]] = at
        report(0.5 * (packet.pos or 0) / size)

    for frame in source.frames(look):
        first = first or frame
    if first is None:
        return dataclasses.replace(_describe(source, None, [0], [0], 0), complete=False, why=NOTHING)
    shown = source.times()
    damage = source.damage(missing)
    planned = times.fill_gaps([*shown, *source.tally.lost()], source.step)
    info = _describe(source, first, shown, planned, len(shown))
    info = dataclasses.replace(info, damage=damage.to_json() if damage else None)
    touched = {*source.tally.lost(), *source.tally.failed, *(source.tally.shown[k] for k in source.tally.concealed)}
    zeros = min((at for moment, at in empty.items() if moment in touched), default=None)
    if zeros is not None and not missing:
        return dataclasses.replace(info, complete=False, why=_reserved(zeros))
    return dataclasses.replace(info, complete=True)


class _Walk:
    def __init__(self, source: Source, limits: Bounds, report: Callable[[float], None]) -> None:
        self.source = source
        self.limits = limits
        self.report = report
        self.by_packets = source.stream.codec_context.name in ONE_EACH
        """Whether frames are counted by packets; else each is decoded."""
        self.shown = array("q")
        """Times of showing, in the order of decoding."""
        self.last_key: int | None = None
        """Time of the last packet at which decoding can start."""
        self.first: VideoFrame | None = None

    def run(self) -> str:
        """Read all packets; return what is missing, if anything."""
        size = os.fstat(self.source.fd).st_size or 1
        marked = self.source.stream.codec_context.name in NO_ZEROS
        try:
            for packet in self.source.packets():
                moment = self.source.count_packet(packet)
                if packet.size and not packet.is_discard:
                    if packet.is_corrupt:
                        return "A packet in it is cut off."
                    if marked and packet.size >= ZEROS and not any(memoryview(packet)[:ZEROS]):
                        return _reserved(packet.pos)
                    self.shown.append(moment)
                    if packet.is_keyframe:
                        self.last_key = packet.pts if packet.pts is not None else packet.dts
                    self.report(0.5 * (packet.pos or 0) / size)
                    _check_length(self.source, self.shown, self.limits)
                if self.first is None or not self.by_packets:
                    frames = self.source.decode_counted(packet, moment)
                    self.first = self.first or next(iter(frames), None)
        except av.error.FFmpegError as error:
            return f"It cannot be read past frame {len(self.shown)}: {error.strerror}."
        return ""

    def times(self) -> list[int]:
        return times.fill_gaps(self.shown, self.source.step) or [0]


def _check_length(source: Source, walked: array[int], limits: Bounds) -> None:
    if len(walked) > limits.frames:
        raise TooLarge(f"{source.name} has more than {limits.frames} frames.", "Cut it into shorter clips.")
    length = (walked[-1] - walked[0]) * source.base
    if length > limits.seconds:
        raise TooLarge(f"{source.name} lasts longer than {limits.seconds / 3600:g} h.", "Cut it into shorter clips.")


def _check_picture(source: Source, limits: Bounds) -> None:
    width, height = source.stream.width, source.stream.height
    if width * height > limits.pixels:
        raise TooLarge(
            f"{source.name} has pictures of {width}x{height} pixels, more than the {limits.pixels} that are allowed.",
            "Scale it down.",
        )


def _ends_well(source: Source, walk: _Walk) -> bool:
    """Whether decoding from the last key frame on reaches the clip's very end without an error."""
    if walk.last_key is None:
        return False
    last: VideoFrame | None = None
    try:
        source.container.seek(walk.last_key, stream=source.stream)
        for packet in source.packets():
            for frame in source.decode(packet):
                last = frame
    except (av.error.FFmpegError, TooLarge):
        return False
    if last is None or last.is_corrupt:
        return False
    return source.kind == "avi" or last.pts is None or last.pts >= max(walk.shown)


def _zeros(source: Source, packet: Packet[VideoStream]) -> int | None:
    """Offset in the file at which a packet has zeros in place of coded pictures; None if it has none."""
    look = RUN.search if source.stream.codec_context.name in NO_ZEROS else RUN.match
    found = look(bytes(packet))
    return None if found is None else (packet.pos or 0) + found.start()


def _reserved(at: int | None) -> str:
    return f"Its space is reserved but not filled: there are only zeros at byte {at or 0}."


def _describe(source: Source, first: VideoFrame | None, shown: list[int], planned: list[int], frames: int) -> VideoInfo:
    """Describe the clip.

    Args:
        first: its first frame; None without any.
        shown: when each frame is shown, in ticks.
        planned: as `shown`, with the lost frames included: gives the recorded rate.

    Raises:
        NotAVideo: its pixel format is unknown.
    """
    stream = source.stream
    context = stream.codec_context
    turn = turn_of(first) if first is not None else Turn()
    # The stream's size is that of the last decoded picture, and the pictures may change their size.
    stored = (stream.width, stream.height) if first is None else (first.width, first.height)
    width, height = stored
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if turn.transpose:
        width, height, aspect = height, width, 1 / aspect
    rate, constant = times.measure(planned, source.base, source.rates)
    audio = source.audio
    fmt = first.format if first is not None else context.format
    if fmt is None:
        raise NotAVideo(f"{source.name} holds video of an unknown pixel format.", "Convert it to H.264 in MP4.")
    return VideoInfo(
        complete=False,
        container=source.kind,
        codec=context.name,
        width=stored[0],
        height=stored[1],
        display_width=width,
        display_height=height,
        sample_aspect=text(aspect),
        turn=str(turn),
        rotation=turn.degrees,
        pix_fmt=fmt.name,
        depth=fmt.components[0].bits,
        frames=frames,
        time_base=text(source.base),
        start=float(shown[0] * source.base),
        constant=constant,
        rate=text(rate),
        duration=float((shown[-1] - shown[0]) * source.base + 1 / rate),
        audio=None if audio is None else audio.codec_context.name if audio.codec_context is not None else UNKNOWN,
        video_streams=len(source.container.streams.video),
    )
