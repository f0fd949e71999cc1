"""Look at a clip that has arrived: what is it, and is all of it there?

Every packet is demuxed; the first frame and the last group of pictures are decoded. A faststart file that was cut off
probes clean, so a look at the header proves nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from array import array
from fractions import Fraction
from typing import TYPE_CHECKING

import av.error

from povwatch.errors import NotAVideo
from povwatch.media import times
from povwatch.media.errors import TooLarge
from povwatch.media.info import Bounds, VideoInfo, text
from povwatch.media.source import Source, opened, turn_of
from povwatch.media.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from av.video.frame import VideoFrame

ONE_EACH = frozenset({"h264", "hevc", "vp9", "av1", "mjpeg", "prores", "dnxhd", "ffv1"})
"""Codecs whose packets each show one frame. Of others every frame is decoded to be counted."""

BLOCK = 2**20


def inspect(
    path: str,
    kind: str,
    *,
    root: str | None = None,
    bounds: dict[str, Any] | None = None,
    report: Callable[[float], None] = lambda _: None,
) -> VideoInfo:
    """Look at the clip at `path`.

    Args:
        path: the clip.
        kind: its container, as its signature tells: mp4, matroska or avi.
        root: the folder that `path` is below and no symlink leads to; see plain.plain.
        bounds: Bounds as JSON.
        report: told the fraction that is done.

    Returns:
        What it is; `complete` is false, and `why` says so, if part of it is missing.

    Raises:
        NotAVideo: no video that can be decoded; TooLarge if it is beyond `bounds`.
        SourceChanged: it is gone.
    """
    limits = Bounds.from_json(bounds or {})
    with opened(path, kind, root=root) as source:
        _check_picture(source, limits)
        walk = _Walk(source, limits, report)
        why = walk.run() or _tail(source, walk)
        info = _describe(source, walk)
        sha256 = digest(source.fd, report)
        return dataclasses.replace(info, complete=not why, why=why, size=os.fstat(source.fd).st_size, sha256=sha256)


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


class _Walk:
    """One pass over every packet."""

    def __init__(self, source: Source, limits: Bounds, report: Callable[[float], None]) -> None:
        self.source = source
        self.limits = limits
        self.report = report
        self.shown = array("q")
        """Times of showing, in the order of decoding."""
        self.frames = 0
        self.last_key: int | None = None
        """Time of the last packet that decoding can start at."""
        self.first: VideoFrame | None = None

    def run(self) -> str:
        """Walk; returns what is wrong, if anything."""
        sure = self.source.stream.codec_context.name in ONE_EACH
        size = os.fstat(self.source.fd).st_size or 1
        decoded: list[int | None] = []
        try:
            for packet in self.source.packets():
                if packet.size and not packet.is_discard:
                    if packet.is_corrupt:
                        return "A packet in it is marked as corrupt."
                    moment = packet.dts if self.source.kind == "avi" or packet.pts is None else packet.pts
                    self.shown.append(moment if moment is not None else len(self.shown))
                    if packet.is_keyframe:
                        self.last_key = packet.pts if packet.pts is not None else packet.dts
                    self.report(0.5 * (packet.pos or 0) / size)
                    self._check_length()
                if self.first is None or not sure:
                    decoded += self._decode(packet)
        except av.error.MemoryError:
            raise  # that says nothing about the file: the child's own limit is named
        except av.error.FFmpegError as error:
            return f"It cannot be read past frame {len(self.shown)}: {error.strerror}."
        if self.first is None:
            return "No frame of it can be decoded."
        self.frames = len(self.shown) if sure else len(decoded)
        return ""

    def times(self) -> list[int]:
        rate = next((r for r in self.source.rates if r), Fraction(30))
        return times.mend(self.shown, max(1, round(1 / (rate * self.source.base))))

    def _decode(self, packet: Any) -> list[int | None]:  # noqa: ANN401 - av.Packet
        try:
            frames = self.source.decode(packet)
        except av.error.InvalidDataError:
            return []
        if frames and self.first is None:
            self.first = frames[0]
        return [frame.pts for frame in frames]

    def _check_length(self) -> None:
        if len(self.shown) > self.limits.frames:
            raise TooLarge(
                f"{self.source.name} has more than {self.limits.frames} frames.", "Cut it into shorter clips."
            )
        length = (self.shown[-1] - self.shown[0]) * self.source.base
        if length > self.limits.seconds:
            raise TooLarge(
                f"{self.source.name} lasts longer than {self.limits.seconds / 3600:g} h.", "Cut it into shorter clips."
            )


def _check_picture(source: Source, limits: Bounds) -> None:
    width, height = source.stream.width, source.stream.height
    if width * height > limits.pixels:
        raise TooLarge(
            f"{source.name} has pictures of {width}x{height} pixels, more than the {limits.pixels} that are allowed.",
            "Scale it down.",
        )


def _tail(source: Source, walk: _Walk) -> str:
    """Decode from the last key frame to the end; returns what is wrong, if anything."""
    if walk.last_key is None:
        return "It has no frame that decoding can start at."
    last: VideoFrame | None = None
    try:
        source.container.seek(walk.last_key, stream=source.stream)
        for packet in source.packets():
            for frame in source.decode(packet):
                last = frame
    except av.error.MemoryError:
        raise
    except av.error.FFmpegError as error:
        return f"Its end does not decode: {error.strerror}."
    if last is None:
        return "Its end does not decode: no frame came out."
    if last.is_corrupt:
        return "Its last frame is damaged."
    if source.kind != "avi" and last.pts is not None and walk.shown and last.pts < max(walk.shown):
        missing = float((max(walk.shown) - last.pts) * source.base)
        return f"Its end does not decode: the last {missing:.2f} s are missing."
    return ""


def _describe(source: Source, walk: _Walk) -> VideoInfo:
    stream = source.stream
    context = stream.codec_context
    turn = turn_of(walk.first) if walk.first is not None else Turn()
    width, height = stream.width, stream.height
    aspect = stream.sample_aspect_ratio or Fraction(1)
    if turn.transpose:
        width, height, aspect = height, width, 1 / aspect
    shown = walk.times() or [0]
    rate, constant = times.measure(shown, source.base, source.rates)
    audio = source.audio
    fmt = walk.first.format if walk.first is not None else context.format
    if fmt is None:
        raise NotAVideo(f"{source.name} holds video of an unknown pixel format.", "Convert it to H.264 in MP4.")
    return VideoInfo(
        complete=False,
        container=source.kind,
        codec=context.name,
        width=stream.width,
        height=stream.height,
        display_width=width,
        display_height=height,
        sample_aspect=text(aspect),
        turn=str(turn),
        rotation=turn.degrees,
        pix_fmt=fmt.name,
        depth=fmt.components[0].bits,
        frames=walk.frames,
        time_base=text(source.base),
        start=float(shown[0] * source.base),
        constant=constant,
        rate=text(rate),
        duration=float((shown[-1] - shown[0]) * source.base + 1 / rate),
        audio=audio.codec_context.name if audio is not None and audio.codec_context is not None else None,
        video_streams=len(source.container.streams.video),
    )
