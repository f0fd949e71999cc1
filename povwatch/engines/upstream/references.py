"""Checks a job's control videos, masks and images against its clip before any GPU time.

Upstream notices a control that is too short only in the chunk that runs out of it, and stretches one of another size.
"""

from __future__ import annotations

import os.path
import zipfile
from fractions import Fraction
from typing import Any

from povwatch.container.signature import HEAD
from povwatch.engines.port import EngineFailure
from povwatch.engines.upstream.arguments import paths, wanted_frames
from povwatch.engines.upstream.formats import IMAGES, VIDEOS, unreadable
from povwatch.media.fit import ARRAY, MASK_TODO, Shape, masks, misfit

"""The array in an .npz that upstream reads as a mask of shape (T, H, W)."""


def check(job: dict[str, Any]) -> None:
    """Check every file that the job's spec names against its clip.

    Raises:
        EngineFailure: A file does not fit; the message names its field and both numbers.
    """
    clip = Shape(job["frames"], job["width"], job["height"], Fraction(job["fps_num"], job["fps_den"]))
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


def probe(where: str, path: str) -> Shape:
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
            return Shape(frames, stream.width, stream.height, Fraction(stream.average_rate or stream.base_rate or 0))
    except av.FFmpegError as error:
        raise EngineFailure("invalid", f"{where} cannot be read: {error}.", "Give a whole video file.") from error


def array_length(where: str, path: str) -> Shape:
    """Length and size of the mask in an .npz, from the array's header.

    Raises:
        EngineFailure: The file has no such array.
    """
    from numpy.lib import format as npy  # noqa: PLC0415 - see probe

    try:
        with zipfile.ZipFile(path) as archive, archive.open(ARRAY) as file:
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
            shape, _, dtype = read(file)
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise EngineFailure("invalid", f"{where} holds no array arr_0: {error}.", MASK_TODO) from error
    if len(shape) != 3 or not masks(dtype.kind, dtype.itemsize):  # noqa: PLR2004 - time, height, width
        raise EngineFailure(
            "invalid",
            f"{where} holds an array of shape {shape} and type {dtype}, not (frames, height, width) of uint8.",
            MASK_TODO,
        )
    return Shape(shape[0], shape[2], shape[1], Fraction(0))


def _format_of(where: str, path: str, known: dict[str, str]) -> str:
    """FFmpeg's name of a file's format, by its suffix, which its first bytes confirm."""
    with open(path, "rb") as file:  # noqa: PTH123
        head = file.read(HEAD)
    problem = unreadable(where, path, head, known)
    if problem is not None:
        raise EngineFailure("invalid", problem.sentence, problem.todo)
    return known[os.path.splitext(path)[1]]  # noqa: PTH122


def _compare(where: str, found: Shape, clip: Shape, wanted: int) -> None:
    problem = misfit(where, found, clip, wanted)
    if problem is not None:
        raise EngineFailure("invalid", problem.sentence, problem.todo)
