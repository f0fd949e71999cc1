"""The control videos, masks and images that a job names, held against its clip before any GPU time.

Upstream notices a control that is too short only in the chunk that runs out of it, and stretches one of another size.
"""

from __future__ import annotations

import os.path
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from povwatch.engine.port import EngineFailure
from povwatch.engine.upstream.arguments import paths, wanted_frames

VIDEOS = {".mp4": "mp4", ".mov": "mp4", ".webm": "matroska", ".avi": "avi"}
"""The suffixes that upstream has a decoder for (easy_io/handlers/registry_utils.py), in lower case alone, and FFmpeg's
demuxer for each."""

IMAGES = {".jpg": "jpeg_pipe", ".jpeg": "jpeg_pipe", ".png": "png_pipe"}

SIGNATURES = (
    (4, b"ftyp", "mp4"),
    (0, b"\x1aE\xdf\xa3", "matroska"),
    (8, b"AVI ", "avi"),
    (0, b"\xff\xd8\xff", "jpeg_pipe"),
    (0, b"\x89PNG", "png_pipe"),
)
"""Offset and bytes that tell a format: a list of other files in a file called .mp4 must not be opened as one."""

SIZE_SLACK = 1
"""Pixels: the working copy of a clip with an odd size is one larger."""

ARRAY = "arr_0.npy"
"""The array in an .npz that upstream reads as a mask of shape (T, H, W)."""


@dataclass(frozen=True)
class Video:
    """A video in short."""

    frames: int
    width: int
    height: int
    rate: Fraction
    """Frames a second, on average."""


def check(job: dict[str, Any]) -> None:
    """Hold every file that the job's spec names against its clip.

    Raises:
        EngineFailure: One does not fit; the message names its field and both numbers.
    """
    clip = Video(job["frames"], job["width"], job["height"], Fraction(job["fps_num"], job["fps_den"]))
    for where, path in paths(job["spec"]).items():
        if where == "video_path":
            continue
        if not os.path.isfile(path):  # noqa: PTH113
            raise EngineFailure("invalid", f"{where}: {path} is no file.", "Put it back, or take the line out.")
        if where == "image_context_path":
            _format_of(where, path, {**IMAGES, **VIDEOS})
        elif where == "guided_generation_mask" and path.endswith(".npz"):
            _compare(where, array_length(where, path), clip, wanted_frames(job))
        else:
            _compare(where, probe(where, path), clip, wanted_frames(job))


def probe(where: str, path: str) -> Video:
    """Length, size and rate of a video, from its packets; nothing is decoded.

    Raises:
        EngineFailure: Upstream could not read it.
    """
    import av  # noqa: PLC0415 - upstream's own; the pure parts do without it

    kind = _format_of(where, path, {**VIDEOS, **IMAGES})
    try:
        with av.open(path, format=kind) as container:
            if not container.streams.video:
                raise EngineFailure("invalid", f"{where} holds no video.", "Give a video.")
            stream = container.streams.video[0]
            frames = sum(packet.size > 0 for packet in container.demux(stream))
            return Video(frames, stream.width, stream.height, Fraction(stream.average_rate or stream.base_rate or 0))
    except av.FFmpegError as error:
        raise EngineFailure("invalid", f"{where} cannot be read: {error}.", "Give a whole video file.") from error


def array_length(where: str, path: str) -> Video:
    """Length and size of the mask in an .npz, from the array's header.

    Raises:
        EngineFailure: It holds no such array.
    """
    from numpy.lib import format as npy  # noqa: PLC0415 - see probe

    try:
        with zipfile.ZipFile(path) as archive, archive.open(ARRAY) as file:
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
            shape, _, dtype = read(file)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise EngineFailure(
            "invalid", f"{where} holds no array arr_0: {error}.", "Write it with numpy.savez(FILE, mask)."
        ) from error
    if len(shape) != 3 or dtype.hasobject:  # noqa: PLR2004 - time, height, width
        raise EngineFailure(
            "invalid",
            f"{where} holds an array of shape {shape} and type {dtype}, not (frames, height, width) of numbers.",
            "Write it with numpy.savez(FILE, mask).",
        )
    return Video(shape[0], shape[2], shape[1], Fraction(0))


def _format_of(where: str, path: str, known: dict[str, str]) -> str:
    """FFmpeg's name of a file's format: as its suffix says and its first bytes confirm."""
    suffix = os.path.splitext(path)[1]  # noqa: PTH122
    expected = known.get(suffix)
    if expected is None:
        raise EngineFailure(
            "invalid",
            f"{where} ends in {suffix!r}, which upstream does not read; it reads {', '.join(sorted(known))}.",
            f"Convert it: ffmpeg -i {os.path.basename(path)} -c copy OUT.mp4, say.",  # noqa: PTH119
        )
    with open(path, "rb") as file:  # noqa: PTH123
        head = file.read(16)
    found = next((kind for at, mark, kind in SIGNATURES if head[at : at + len(mark)] == mark), None)
    if found != expected:
        what = "another kind of file" if found is None else f"{found.partition('_')[0]} data"
        raise EngineFailure("invalid", f"{where} ends in {suffix} but is {what}.", "Give a file of the kind it says.")
    return found


def _compare(where: str, found: Video, clip: Video, wanted: int) -> None:
    if found.frames not in (clip.frames, wanted):
        raise EngineFailure(
            "invalid",
            f"{where} has {found.frames} frames, the clip has {clip.frames}.",
            "Give one frame for each of the clip's.",
        )
    if abs(found.width - clip.width) > SIZE_SLACK or abs(found.height - clip.height) > SIZE_SLACK:
        raise EngineFailure(
            "invalid",
            f"{where} is {found.width}x{found.height}, the clip is {clip.width}x{clip.height}.",
            "Give it the clip's size.",
        )
    # Rates that stay within a frame of each other over the whole clip are one rate in two spellings.
    if found.rate and abs(found.frames / found.rate - found.frames / clip.rate) * clip.rate >= 1:
        raise EngineFailure(
            "invalid",
            f"{where} has {float(found.rate):.3f} frames a second, the clip has {float(clip.rate):.3f}.",
            "Give it the clip's rate, so that frame k belongs to frame k.",
        )
