"""Makes clips whose sound beeps every half second, and finds the beeps in a result."""

from __future__ import annotations

import struct
from fractions import Fraction
from functools import cache
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np
from av.video.reformatter import VideoReformatter
from support.clips import FORMATS, painted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

HERTZ = 48_000
FPS = 25
FRAMES = 60
SECONDS = FRAMES / FPS
SIZE = (96, 64)
BEEPS = [0.25, 0.75, 1.25, 1.75, 2.25]
"""Seconds at which the beeps begin."""

CODECS = {".webm": "libvpx", ".avi": "mpeg4"}


def samples(seconds: float = SECONDS, channels: int = 1, hertz: int = HERTZ, first: float = 0.0) -> NDArray[np.int16]:
    """50 ms of 1 kHz every half second from 0.25 s on, equal in all channels; shape (samples, channels).

    Args:
        seconds: the length.
        hertz: samples per second.
        first: the second at which the array begins.
    """
    at = first + np.arange(round(seconds * hertz)) / hertz
    on = (at >= 0.25) & ((at - 0.25) % 0.5 < 0.05)
    return np.repeat((np.sin(2000 * np.pi * at) * on * 20_000).astype(np.int16)[:, None], channels, 1)


def beeping(
    path: Path,
    codec: str,
    *,
    layout: str = "mono",
    hertz: int = HERTZ,
    seconds: float = SECONDS,
    change: Callable[[list[Any]], list[Any]] = lambda packets: packets,
    options: dict[str, str] | None = None,
    **coder: str,
) -> Path:
    """Write a clip of FRAMES numbered frames whose sound beeps.

    Args:
        path: its suffix chooses the container and the video codec.
        codec: FFmpeg's encoder of the sound.
        hertz: samples per second.
        change: changes the sound's packets before they are written.
        options: for the container.
        coder: options for the encoder.
    """
    with av.open(str(path), "w", format=FORMATS[path.suffix], options=options or {}) as container:
        pictures = _pictures(container, CODECS.get(path.suffix, "libx264"))
        out = container.add_stream(codec, rate=hertz, layout=layout, options={"strict": "-2", **coder})
        wave = samples(seconds, av.AudioLayout(layout).nb_channels, hertz)
        packets = [
            p for k in range(0, len(wave), 1024) for p in out.encode(_frame(wave[k : k + 1024], k, layout, hertz))
        ]
        _mux(container, pictures, change(packets + list(out.encode(None))))
    return path


def two_tracks(path: Path, first: str, second: str, *, empty: bool) -> Path:
    """A clip with two tracks of beeping sound.

    Args:
        first: FFmpeg's encoder of the track that players choose.
        second: the encoder of the other track.
        empty: whether the first track has no packets.
    """
    with av.open(str(path), "w", format=FORMATS[path.suffix]) as container:
        pictures = _pictures(container, CODECS.get(path.suffix, "libx264"))
        heard: list[Any] = []
        for number, codec in enumerate((first, second)):
            out = container.add_stream(codec, rate=HERTZ, layout="stereo")
            if empty and number == 0:
                continue
            wave = samples(SECONDS, 2)
            for k in range(0, len(wave), 1024):
                heard += out.encode(_frame(wave[k : k + 1024], k, "stereo", HERTZ))
            heard += out.encode(None)
        _mux(container, pictures, heard)
    return path


def joined(path: Path, codec: str, forms: Sequence[tuple[str, int]], each: float = 1.0) -> Path:
    """A clip whose sound changes its format, as in a broadcast or a joined recording.

    Args:
        forms: layout and samples per second of each part.
        each: seconds of each part.
    """
    packets: list[Any] = []
    for number, (layout, hertz) in enumerate(forms):
        coder: Any = av.CodecContext.create(codec, "w")
        coder.sample_rate, coder.layout, coder.format = hertz, layout, coder.codec.audio_formats[0]
        coder.time_base = Fraction(1, hertz)
        coder.open()
        size = coder.frame_size or 1024
        wave = samples(each, av.AudioLayout(layout).nb_channels, hertz, number * each)
        resampler = av.AudioResampler(coder.format.name, layout, hertz)
        for k in range(0, len(wave) - size + 1, size):
            for part in resampler.resample(_frame(wave[k : k + size], k, layout, hertz)):
                for packet in coder.encode(part):
                    moment = number * each + float(packet.pts * packet.time_base)
                    packet.pts = packet.dts = max(0, round(moment * HERTZ))
                    packet.time_base = Fraction(1, HERTZ)
                    packets.append(packet)
    with av.open(str(path), "w", format=FORMATS[path.suffix]) as container:
        pictures = _pictures(container, CODECS.get(path.suffix, "libx264"))
        out = container.add_stream(codec, rate=forms[0][1], layout=forms[0][0])
        for packet in packets:
            packet.stream = out
        _mux(container, pictures, packets)
    return path


def labelled(path: Path, layout: str, *labels: int, extra: bytes = b"") -> Path:
    """A MOV with PCM whose `chan` box labels each channel, or has been replaced by `extra`.

    Args:
        layout: the layout that it is written with.
        labels: QuickTime's numbers: 1 left, 2 right, 3 centre, 4 LFE, 5 and 6 surround.
        extra: boxes.
    """
    beeping(path, "pcm_s16le", layout=layout)
    if labels:
        body = struct.pack(">IIII", 0, 0, 0, len(labels)) + b"".join(
            struct.pack(">II3f", n, 0, 0, 0, 0) for n in labels
        )
        extra = _box(b"chan", body)

    def entry(stsd: bytes) -> bytes:
        size, kind = struct.unpack(">I4s", stsd[8:16])
        if kind != b"sowt":
            return stsd
        body = stsd[8 : 8 + size]
        fixed = 36 + {0: 0, 1: 16, 2: 36}[struct.unpack(">H", body[16:18])[0]]
        kept = b"".join(_box(k, b) for k, b in _boxes(body[fixed:]) if k != b"chan")
        return stsd[:8] + _box(kind, body[8:fixed] + kept + extra)

    way = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    path.write_bytes(_rebuilt(path.read_bytes(), way, entry))  # the index is last, so nothing else moves
    return path


def ambisonic(path: Path) -> Path:
    """A MOV with first-order ambisonic PCM, as 360-degree cameras write it (SA3D: ACN, SN3D)."""
    return labelled(path, "4.0", extra=_box(b"SA3D", struct.pack(">BBIBBI4I", 0, 0, 1, 0, 0, 4, 0, 1, 2, 3)))


def hole(begin: float, end: float) -> Callable[[list[Any]], list[Any]]:
    """For `beeping`: drops the packets between two seconds."""
    return lambda packets: [p for p in packets if not begin < p.pts * p.time_base < end]


def bunched(every: float) -> Callable[[list[Any]], list[Any]]:
    """For `beeping`: gives packets the time of their burst of `every` seconds, as network cameras do."""

    def change(packets: list[Any]) -> list[Any]:
        for packet in packets:
            ticks = round(every / packet.time_base)
            packet.pts = packet.dts = max(0, packet.pts // ticks * ticks)
        return packets

    return change


def moved(by: float, after: float = -1.0) -> Callable[[list[Any]], list[Any]]:
    """For `beeping`: moves packets later than `after` by some seconds."""

    def change(packets: list[Any]) -> list[Any]:
        for packet in packets:
            if packet.pts * packet.time_base > after:
                packet.pts += round(by / packet.time_base)
                packet.dts = packet.pts
        return packets

    return change


def spoil(path: Path, which: range) -> Path:
    """XOR the payload of some packets of a clip's sound; for MP4 and MOV, which say where a packet's bytes are."""
    with av.open(str(path)) as container:
        places = [(p.pos, p.size) for p in container.demux(container.streams.audio[0]) if p.size]
    data = bytearray(path.read_bytes())
    for number in which:
        at, size = places[number]
        data[at : at + size] = bytes(b ^ 0x5A for b in data[at : at + size])
    path.write_bytes(data)
    return path


def spoil_wavpack(path: Path, which: range) -> Path:
    """XOR the payload of some packets of WavPack in Matroska, and the flags and checksum before it."""
    with av.open(str(path)) as container:
        bodies = [bytes(p)[32:] for p in container.demux(container.streams.audio[0]) if p.size]  # FFmpeg adds 32 bytes
    data = bytearray(path.read_bytes())
    for number in which:
        body = bodies[number]
        at = data.index(body)
        data[at - 8 : at + len(body)] = bytes(b ^ 0x5A for b in data[at - 8 : at + len(body)])
    path.write_bytes(data)
    return path


def onsets(path: Path) -> list[float]:
    """Seconds at which beeps begin in a file's sound, to 5 ms, by the timestamps of its frames."""
    parts: list[tuple[int, NDArray[Any]]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            loud = av.AudioResampler("flt").resample(frame)[0].to_ndarray().reshape(-1, frame.layout.nb_channels)
            parts.append((round(frame.pts * frame.time_base * HERTZ), _at_hertz(np.abs(loud).max(axis=1), frame)))
    whole = np.zeros(max((at + len(part) for at, part in parts), default=0) + 240, np.float32)
    for at, part in parts:
        kept = part[max(0, -at) :]
        whole[max(0, at) : max(0, at) + len(kept)] = kept
    loud = whole[: len(whole) // 240 * 240].reshape(-1, 240).max(axis=1)
    on = loud > 0.25 * max(float(loud.max()), 0.01)
    return [float(k) * 240 / HERTZ for k in np.flatnonzero(on) if not on[max(0, k - 10) : k].any()]


def _at_hertz(loudness: NDArray[Any], frame: Any) -> NDArray[Any]:
    """Loudness resampled to HERTZ."""
    size = round(len(loudness) * HERTZ / frame.sample_rate)
    return loudness[np.minimum(np.arange(size) * frame.sample_rate // HERTZ, len(loudness) - 1)]


def _frame(wave: NDArray[np.int16], at: int, layout: str, hertz: int) -> Any:
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave).reshape(1, -1), format="s16", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = hertz, at, Fraction(1, hertz)
    return frame


def _pictures(container: Any, codec: str) -> Callable[[], list[Any]]:
    """Add a video stream; the returned function encodes its packets."""
    stream = container.add_stream(codec, rate=FPS)
    stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
    if codec == "mpeg4":
        stream.options = {"qscale": "2"}
    if codec == "libvpx":
        stream.codec_context.thread_count = 1  # its threads wait for each other without sleeping

    def packets() -> list[Any]:
        out = []
        for k, frame in enumerate(_painted_frames()):
            frame.pts, frame.time_base = k, Fraction(1, FPS)
            out += stream.encode(frame)
        return [*out, *stream.encode(None)]

    return packets


@cache
def _painted_frames() -> list[av.VideoFrame]:
    reformatter = VideoReformatter()
    pictures = (av.VideoFrame.from_ndarray(painted(k, SIZE), format="rgb24") for k in range(FRAMES))
    return [reformatter.reformat(picture, format="yuv420p") for picture in pictures]


def _mux(container: Any, pictures: Callable[[], list[Any]], heard: list[Any]) -> None:
    for packet in sorted([*pictures(), *heard], key=lambda p: p.dts * p.time_base):
        container.mux(packet)


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        found.append((kind, data[at + 8 : at + size]))
        at += size
    return found


def _rebuilt(data: bytes, way: tuple[bytes, ...], change: Callable[[bytes], bytes]) -> bytes:
    """The boxes of `data`, with `change` applied to the body of each one at `way`."""
    out = b""
    for kind, body in _boxes(data):
        if kind == way[0]:
            out += _box(kind, change(body) if len(way) == 1 else _rebuilt(body, way[1:], change))
        else:
            out += _box(kind, body)
    return out
