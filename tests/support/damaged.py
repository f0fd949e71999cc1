"""Clips that players can play although they are damaged, wrongly marked, or cut without encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from support.clips import FORMATS, make_clip, number_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from fractions import Fraction
    from pathlib import Path

LONG = {"g": "250", "sc_threshold": "0", "bf": "2", "crf": "16"}
"""x264: one group of pictures, with B-frames."""

SHORT = {"g": "10", "sc_threshold": "0", "bf": "2", "crf": "16"}

HEVC = {
    "x265-params": "log-level=none:pools=none:frame-threads=1:keyint=250:bframes=2:scenecut=0",
    "preset": "ultrafast",
}

KINDS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mp4", ".mkv": "matroska", ".webm": "matroska", ".avi": "avi"}


def spoil(path: Path, *which: int, how: str = "bits") -> Path:
    """Change video packets. Their first four bytes stay.

    Args:
        which: packet numbers in decoding order.
        how: `bits` flips some bits in each byte, `zeros` empties packets (the first four bytes too), `half` empties
            their second half.
    """
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    for number in which:
        packet = packets[number]
        assert data.count(packet) == 1, "the packet's bytes say where it is"
        at = data.index(packet)
        if how == "bits":
            data[at + 4 : at + len(packet)] = bytes(byte ^ 0x5A for byte in packet[4:])
        else:
            start = 0 if how == "zeros" else len(packet) // 2
            data[at + start : at + len(packet)] = bytes(len(packet) - start)
    path.write_bytes(data)
    return path


def remuxed(
    source: Path, to: Path, change: Callable[[int, Any], Any] = lambda _, packet: packet, **options: str
) -> Path:
    """Copy a clip's packets into another file. `change` gets each video packet with its number, and may return None."""
    with av.open(str(source)) as clip, av.open(str(to), "w", format=FORMATS[to.suffix], options=options) as out:
        streams = {stream.index: out.add_stream_from_template(stream) for stream in clip.streams}
        number = 0
        for packet in clip.demux():
            stream = packet.stream
            changed = packet if packet.size else None
            if changed is not None and stream.type == "video":
                changed = change(number, packet)
                number += 1
            if changed is not None:
                changed.stream = streams[stream.index]
                out.mux(changed)
    return to


def cut_front(source: Path, to: Path, seconds: Fraction | int) -> Path:
    """Cut the front off without encoding, as editors and phones do: an edit list hides what is before the cut."""

    def earlier(_: int, packet: Any) -> Any:
        back = round(seconds / packet.time_base)
        packet.pts -= back
        packet.dts -= back
        return packet

    return remuxed(source, to, earlier)


def noisy(path: Path, frames: int = 40, **how: Any) -> Path:
    """A clip whose packets all differ and are not small."""
    return make_clip(path, frames=frames, size=(192, 128), **how)


def from_the_front(path: Path) -> tuple[list[int | None], list[Fraction]]:
    """Frame numbers and times that a separate single-threaded decoder shows; packets that raise are skipped.

    A number is None if the picture no longer shows it.
    """
    numbers: list[int | None] = []
    times: list[Fraction] = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.thread_count = "NONE", 1
        reformatter = VideoReformatter()
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            for frame in frames:
                try:
                    numbers.append(number_of(reformatter.reformat(frame, format="rgb24").to_ndarray()))
                except AssertionError:
                    numbers.append(None)
                times.append(frame.pts * frame.time_base)
    return numbers, times


def drop_box(path: Path, name: bytes) -> Path:
    """Rename every box of a kind, so that no reader finds it; nothing moves."""
    data = bytearray(path.read_bytes())
    at = data.find(name)
    assert at >= 0
    while at >= 0:
        data[at : at + 4] = b"free"
        at = data.find(name, at + 1)
    path.write_bytes(data)
    return path


def mute_pcm(samples: int, channels: int, codec: str) -> np.ndarray[Any, Any]:
    """Silence in a PCM encoder's sample format."""
    return np.zeros((1, samples * channels), np.float32 if "f32" in codec else np.int32 if "s24" in codec else np.int16)
