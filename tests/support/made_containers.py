"""Writes small real files of every container with PyAV, to test completeness."""

from __future__ import annotations

import io
import struct
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

FAST = {"libx264": {"preset": "ultrafast", "bf": "2"}, "libvpx": {"deadline": "realtime", "cpu-used": "8"}}
"""Options of encoders: how well they compress does not matter here, only that H.264 has B-frames."""


def video(
    container: str = "mp4",
    codec: str = "libx264",
    *,
    frames: int = 24,
    size: tuple[int, int] = (96, 64),
    sound: str | None = None,
    pix_fmt: str = "yuv420p",
    codec_options: dict[str, str] | None = None,
    silent: bool = False,
    black: bool = False,
    **options: str,
) -> bytes:
    """A file with `frames` frames of noise, and with sound if `sound` names a codec.

    The sound is noise, or zeros if `silent`. All samples of a `black` picture are zero.
    """
    return _written(
        container=container,
        codec=codec,
        frames=frames,
        size=size,
        sound=sound,
        pix_fmt=pix_fmt,
        codec_options=codec_options or {},
        options=options,
        silent=silent,
        black=black,
    )


def sound_only(container: str = "mp4", codec: str = "aac") -> bytes:
    """A file with a second of noise as sound, and no picture."""
    return _written(container=container, sound=codec)


def streamed(container: str, codec: str, **options: str) -> bytes:
    """The same file, written into a pipe: no size is filled in afterwards."""
    return _written(container=container, codec=codec, frames=24, options=options, pipe=Pipe())


def open_dml(parts: int = 3, frames: int = 4) -> bytes:
    """An AVI of several RIFF chunks with OpenDML's indexes. Other writers begin a new chunk only after a gigabyte."""
    jpegs = [jpeg for _, jpeg in _packets(video("avi", "mjpeg", frames=frames, pix_fmt="yuvj420p"))]
    header = 12 + 12 + 8 + 56 + 12 + 8 + 56 + 8 + 40 + 8 + 24 + 16 * parts
    bodies, entries = [], b""
    at = header
    for part in range(parts):
        start = at if part == 0 else at + 12
        movi, inside = b"movi", []
        for jpeg in jpegs:
            inside.append((8 + len(movi) + 8, len(jpeg)))
            movi += _chunk(b"00dc", jpeg)
        table = struct.pack("<HBBI4sQI", 2, 0, 1, len(jpegs), b"00dc", start, 0)
        table += b"".join(struct.pack("<II", *place) for place in inside)
        entries += struct.pack("<QII", start + 8 + len(movi), 8 + len(table), len(jpegs))
        bodies.append(_chunk(b"LIST", movi + _chunk(b"ix00", table)))
        at = start + len(bodies[-1])
    avih = struct.pack("<14I", 41667, 0, 0, 0x10, frames * parts, 0, 1, 0, 96, 64, 0, 0, 0, 0)
    strh = struct.pack(
        "<4s4sIHHIIIIIIIIHHHH", b"vids", b"MJPG", 0, 0, 0, 0, 1, 24, 0, frames * parts, 0, 0, 0, 0, 0, 96, 64
    )
    strf = struct.pack("<IiiHH4sIiiII", 40, 96, 64, 1, 24, b"MJPG", 0, 0, 0, 0, 0)
    indx = struct.pack("<HBBI4s12x", 4, 0, 0, parts, b"00dc") + entries
    strl = _chunk(b"strh", strh) + _chunk(b"strf", strf) + _chunk(b"indx", indx)
    hdrl = _chunk(b"LIST", b"hdrl" + _chunk(b"avih", avih) + _chunk(b"LIST", b"strl" + strl))
    first = _chunk(b"RIFF", b"AVI " + hdrl + bodies[0])
    assert len(first) == header + len(bodies[0])
    return first + b"".join(_chunk(b"RIFF", b"AVIX" + body) for body in bodies[1:])


def beginning_with(box: bytes, **options: Any) -> bytes:
    """A QuickTime movie without `ftyp`, as from older cameras; it begins with `wide`, `mdat` or `moov`.

    Every sample stays at its offset, so the new first box has the size of the one that it replaces.
    """
    data = video("mov", **options, movflags="faststart") if box == b"moov" else video("mov", **options)
    ftyp = int.from_bytes(data[:4])
    if box == b"wide":
        return data[:4] + box + bytes(ftyp - 8) + data[ftyp:]
    size = int.from_bytes(data[ftyp : ftyp + 4])
    if box == b"moov":
        filler = ftyp.to_bytes(4) + b"free" + bytes(ftyp - 8)
        return (size + ftyp).to_bytes(4) + box + filler + data[ftyp + 8 :]
    start = ftyp + size  # after `wide`
    size = start + int.from_bytes(data[start : start + 4])
    return size.to_bytes(4) + box + data[8:]


def _packets(data):
    with av.open(io.BytesIO(data)) as film:
        return [(packet.pts, bytes(packet)) for packet in film.demux(video=0) if packet.size]


def _chunk(name, body):
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


class Pipe(io.RawIOBase):
    """A file that can only be appended to."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, chunk) -> int:
        self.data += bytes(chunk)
        return len(chunk)

    def getvalue(self) -> bytes:
        return bytes(self.data)


def _written(
    *,
    container,
    codec=None,
    frames=0,
    size=(96, 64),
    sound=None,
    pix_fmt="yuv420p",
    codec_options=None,
    options=None,
    pipe=None,
    silent=False,
    black=False,
) -> bytes:
    noise = np.random.default_rng(7)
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(pipe or file.name, "w", format=container, options=options or {}) as out,
    ):
        picture = None
        if codec is not None:
            picture = out.add_stream(codec, rate=24, options=FAST.get(codec, {}) | (codec_options or {}))
            picture.width, picture.height, picture.pix_fmt = *size, pix_fmt
            picture.codec_context.gop_size = 6
            picture.codec_context.thread_count = 1
        ear = out.add_stream(sound, rate=48000, layout="mono") if sound else None
        for i in range(frames):
            image = noise.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pix_fmt)
            for plane in frame.planes if black else ():
                plane.update(bytes(plane.buffer_size))
            frame.pts, frame.time_base = i, Fraction(1, 24)
            out.mux(picture.encode(frame))
            if ear:
                _hear(out, ear, noise, i * 2000, 2000, silent=silent)
        if ear and not frames:
            _hear(out, ear, noise, 0, 48000, silent=silent)
        for stream in filter(None, (picture, ear)):
            out.mux(stream.encode(None))
        out.close()
        return pipe.getvalue() if pipe else Path(file.name).read_bytes()


def _hear(out, ear, noise, start, samples, *, silent=False) -> None:
    kind = ear.codec_context.format
    wave = noise.uniform(-0.5, 0.5, (1, samples)).astype(np.float32) * (not silent) + 0.0  # no zeros below zero
    if kind.name.startswith("s16"):
        wave = (wave * 32767).astype(np.int16)
    elif kind.name.startswith("s32"):
        wave = (wave * (2**31 - 1)).astype(np.int32)
    frame = av.AudioFrame.from_ndarray(wave, format=kind.name, layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
    out.mux(ear.encode(frame))
