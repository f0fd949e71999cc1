"""Makes real clips for tests. Every frame carries its number, painted so that it survives codecs, turns and scaling."""

from __future__ import annotations

import os
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from povwatch.media.source import turn_of
from povwatch.media.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

BITS = 8
"""Blocks in each of the two rows at the top of a frame: the number's bits, and the inverted bits as a check."""

FORMATS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi"}

TURNS = {
    0: Turn(),
    90: Turn(transpose=True, mirror=True),
    180: Turn(mirror=True, flip=True),
    270: Turn(transpose=True, flip=True),
}
"""Clockwise turns that a player applies to the stored picture."""


def make_clip(
    path: Path,
    *,
    frames: int = 12,
    first: int = 0,
    size: tuple[int, int] = (96, 64),
    fps: Fraction | int = 30,
    times: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    rotation: int = 0,
    pix_fmt: str = "yuv420p",
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    audio: str | None = None,
    audio_start: float = 0.0,
    audio_rate: int = 48_000,
    colour: dict[str, int] | None = None,
    sample_aspect: Fraction | None = None,
    blank: bool = False,
) -> Path:
    """Write a clip.

    Args:
        path: its suffix, in any case, chooses the container.
        first: the number of the first frame.
        size: of the upright picture, in pixels.
        fps: the rate, if there are no `times`.
        times: ticks of `time_base`, one for each frame, in display order.
        time_base: seconds per tick.
        rotation: degrees clockwise that a player has to turn the stored picture.
        codec: FFmpeg's encoder for the video.
        options: for that encoder.
        audio: FFmpeg's encoder for a tone, or None.
        audio_start: seconds at which the tone begins.
        audio_rate: samples per second.
        colour: `colorspace`, `color_range`, `color_primaries`, `color_trc`; the pixels are converted to match.
        sample_aspect: width to height of a stored pixel.
        blank: black frames without numbers.
    """
    rate = Fraction(fps)
    base = time_base or 1 / rate
    with av.open(str(path), "w", format=FORMATS[path.suffix.lower()]) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=options or {"crf": "16"} if "264" in codec else {})
        if options:
            stream.options = options
        stored = size if rotation % 180 == 0 else size[::-1]
        stream.width, stream.height, stream.pix_fmt = *stored, pix_fmt
        stream.codec_context.time_base = base
        stream.time_base = base
        for name, value in (colour or {}).items():
            setattr(stream.codec_context, name, value)
        if sample_aspect:
            stream.codec_context.sample_aspect_ratio = sample_aspect
        if rotation:
            stream.set_display_rotation(-rotation)
        if codec == "libvpx":
            stream.codec_context.thread_count = 1  # its threads wait for each other without sleeping
        tone = _Tone(container, audio, audio_rate, audio_start) if audio else None
        reformatter = VideoReformatter()  # keeps what each frame would set up anew
        for k in range(frames):
            upright = np.zeros((size[1], size[0], 3), np.uint8) if blank else painted(first + k, size)
            frame = av.VideoFrame.from_ndarray(_unturned(upright, rotation), format="rgb24")
            frame = _converted(reformatter, frame, pix_fmt, colour or {})
            frame.pts = k if times is None else times[k]
            frame.time_base = base
            container.mux(stream.encode(frame))
            if tone:
                tone.until(float(frame.pts * base) + float(1 / rate))
        container.mux(stream.encode(None))
        if tone:
            tone.close()
    return path


def painted(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture with its number at the top, and below it a slope and a moving bar, which give codecs work."""
    width, height = size
    picture = np.empty((height, width, 3), np.uint8)
    slope = np.linspace(40, 200, width, dtype=np.uint8)
    picture[:] = np.stack([slope, slope[::-1], np.full(width, 90, np.uint8)], axis=1)
    bar = (number * 5) % width
    picture[height // 2 :, bar : bar + 8] = (230, 60, 30)
    for bit in range(BITS):
        on = number >> bit & 1
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        picture[: height // 4, left:right] = 235 * on + 10 * (1 - on)
        picture[height // 4 : height // 2, left:right] = 10 * on + 235 * (1 - on)
    return picture


def number_of(picture: NDArray[np.uint8]) -> int:
    """The number in an upright RGB picture, shape (height, width, 3).

    Raises:
        AssertionError: There is none, or it is damaged.
    """
    height, width = picture.shape[:2]
    grey = picture.astype(float).mean(axis=2)
    number = 0
    for bit in range(BITS):
        x = (2 * bit + 1) * width // (2 * BITS)
        first = grey[height // 8 - 1 : height // 8 + 2, x - 1 : x + 2].mean()
        second = grey[3 * height // 8 - 1 : 3 * height // 8 + 2, x - 1 : x + 2].mean()
        assert abs(first - second) > 60, f"bit {bit} is unreadable: {first:.0f} and {second:.0f}"
        number |= int(first > second) << bit
    return number


def upright_frames(path: Path | str) -> Iterator[NDArray[np.uint8]]:
    """The frames as a player shows them, RGB, shape (height, width, 3)."""
    reformatter = VideoReformatter()
    for frame in _frames(path):
        rgb = reformatter.reformat(frame, format="rgb24").to_ndarray()
        turn = turn_of(frame)
        yield np.stack([turn.apply(rgb[..., c]) for c in range(3)], axis=2) if turn else rgb


def read_numbers(path: Path | str) -> list[int]:
    """The number in every frame, in display order."""
    return [number_of(picture) for picture in upright_frames(path)]


def read_times(path: Path | str) -> list[Fraction]:
    """Seconds at which every frame is shown, in display order."""
    return [frame.pts * frame.time_base for frame in _frames(path)]


def audio_span(path: Path | str) -> tuple[float, float]:
    """Seconds at which the tone is first and last heard."""
    with av.open(os.fspath(path)) as container:
        heard = [
            (frame.pts * frame.time_base, frame.samples / frame.sample_rate)
            for frame in container.decode(audio=0)
            if np.abs(frame.to_ndarray().astype(float)).max() > 0
        ]
    return float(heard[0][0]), float(heard[-1][0]) + heard[-1][1]


def _frames(path: Path | str) -> Iterator[av.VideoFrame]:
    with av.open(os.fspath(path)) as container:
        yield from container.decode(video=0)


def _unturned(upright: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """The stored picture of an upright one."""
    return np.ascontiguousarray(np.rot90(upright, rotation // 90))


def _converted(
    reformatter: VideoReformatter, frame: av.VideoFrame, pix_fmt: str, colour: dict[str, int]
) -> av.VideoFrame:
    matrix = {1: "itu709", 5: "itu601", 6: "itu601", 9: "bt2020"}.get(colour.get("colorspace", 2), "itu601")
    full = colour.get("color_range", 1)
    out = reformatter.reformat(frame, format=pix_fmt, dst_colorspace=matrix, dst_color_range=full)
    for name, value in colour.items():
        setattr(out, name, value)
    return out


class _Tone:
    """A tone beside the video."""

    def __init__(self, container: Any, codec: str, rate: int, start: float) -> None:
        self.container, self.rate = container, rate
        self.stream = container.add_stream(codec, rate=rate, layout="mono")
        self.format = self.stream.codec_context.codec.audio_formats[0].name
        self.stream.format = self.format
        self.at = round(start * rate)

    def until(self, seconds: float) -> None:
        size = self.stream.codec_context.frame_size or 1024
        while self.at / self.rate < seconds:
            wave = np.sin(2 * np.pi * 440 * np.arange(self.at, self.at + size) / self.rate) * 0.5
            frame = av.AudioFrame.from_ndarray(wave.astype(np.float32)[None], format="fltp", layout="mono")
            frame.sample_rate = self.rate
            for part in av.AudioResampler(self.format, "mono", self.rate).resample(frame):
                part.pts, part.time_base = self.at, Fraction(1, self.rate)
                self.container.mux(self.stream.encode(part))
            self.at += size

    def close(self) -> None:
        self.container.mux(self.stream.encode(None))
