"""Looks at files that are no clips, and keeps nothing of them.

`measure`: a file that a spec names: a control video, or a mask as a video or an array. `decode`: a hook's video.
"""

from __future__ import annotations

import zipfile
from fractions import Fraction
from typing import TYPE_CHECKING

import av.error

from povwatch.core.errors import NotAVideo
from povwatch.media.damage import describe_damage
from povwatch.media.fit import ARRAY, MASK_TODO, masks
from povwatch.media.info import Bounds, Decoded, Measured, text
from povwatch.media.plain import plain
from povwatch.media.probe import inspect
from povwatch.media.source import opened

if TYPE_CHECKING:
    from collections.abc import Callable


AGAIN = "Have it written whole."

DIMENSIONS = 3
"""Time, height, width."""


def measure(path: str, kind: str, *, root: str, report: Callable[[float], None] = lambda _: None) -> Measured:
    """Measure the file at `path`.

    Args:
        kind: mp4, matroska or avi, by its signature, or npz.
        root: the folder that the file is below, with no symlink on the way.

    Raises:
        NotAVideo: the file cannot be read, or part of it is missing.
        SourceChanged: the file is gone.
    """
    if kind == "npz":
        return _array(path, root)
    found = inspect(path, kind, root=root, report=report)
    if not found.complete:
        raise NotAVideo(found.why, "Give a whole video file.")
    if found.damage:  # each engine reads a damaged file in its own way
        raise NotAVideo(describe_damage(found.damage), "Give a video file that is not damaged.")
    return Measured(found.frames, found.display_width, found.display_height, text(found.fps), found.turn != "none")


def _array(path: str, root: str) -> Measured:
    """Measure an array by its header alone: the array may be larger than memory, or hold a pickle."""
    from numpy.lib import format as npy  # noqa: PLC0415 - slow to import, and videos do without

    try:
        with (
            plain(path, root) as fd,
            open(fd, "rb", closefd=False) as whole,
            zipfile.ZipFile(whole) as archive,
            archive.open(ARRAY) as file,
        ):
            read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}[npy.read_magic(file)]
            shape, _, dtype = read(file)
    except KeyError as error:
        raise NotAVideo("It holds no array arr_0.", MASK_TODO) from error
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise NotAVideo(f"It holds no array that can be read ({error}).", MASK_TODO) from error
    if len(shape) != DIMENSIONS or not masks(dtype.kind, dtype.itemsize):
        what = f"It holds an array of shape {shape} and type {dtype}, not (frames, height, width) of uint8."
        raise NotAVideo(what, MASK_TODO)
    frames, height, width = shape
    return Measured(frames, width, height, text(Fraction(0)))


def decode(path: str, kind: str, *, report: Callable[[float], None] = lambda _: None) -> Decoded:
    """Decode the file at `path`, which is no symlink.

    Args:
        kind: mp4, matroska or avi, by its signature.

    Raises:
        NotAVideo: the file does not decode to its end, or has no frame.
        SourceChanged: the file is gone.
    """
    frames, limit = 0, Bounds().frames
    with opened(path, kind) as source:
        try:
            for frame in source.frames():
                frames += 1
                if frame.is_corrupt or source.damaged or frames > limit:
                    break
                report(0.0)
        except av.error.FFmpegError as error:
            raise NotAVideo(f"cannot be read past frame {frames} ({error.strerror})", AGAIN) from None
        if source.damaged or not frames or frames > limit:
            raise NotAVideo(f"does not decode after frame {frames}" if frames else "has no frame that decodes", AGAIN)
        return Decoded(frames, source.stream.width, source.stream.height)
