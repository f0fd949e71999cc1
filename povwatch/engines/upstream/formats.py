"""Which files upstream reads: the suffix says, and the first bytes have to confirm it. Pure, standard library alone.

A list of other files that is called .mp4 must not be opened as one.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from povwatch.container import signature
from povwatch.core.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

VIDEOS = {".mp4": "mov", ".mov": "mov", ".webm": "matroska", ".avi": "avi"}
"""The suffixes that upstream has a decoder for (easy_io/handlers/registry_utils.py), in lower case alone, and FFmpeg's
demuxer for each."""

NAMES = {"mov": "MP4", "matroska": "Matroska", "avi": "AVI"}

IMAGES = {".jpg": "jpeg_pipe", ".jpeg": "jpeg_pipe", ".png": "png_pipe"}


def unreadable(field: str, name: str, head: bytes, known: Mapping[str, str]) -> Problem | None:
    """Why upstream could not read a file that a spec names; None if it could.

    Args:
        field: the spec's field that names it.
        name: of the file.
        head: its first bytes, signature.HEAD of them.
        known: the suffixes that are read there, to FFmpeg's demuxer for each.
    """
    suffix = posixpath.splitext(name)[1]
    expected = known.get(suffix)
    if expected is None:
        return Problem(
            f"ends in {suffix!r}, which upstream does not read; it reads {', '.join(sorted(known))}",
            f"Convert it: ffmpeg -i {posixpath.basename(name)} -c copy OUT.mp4, say.",
            field,
        )
    found = signature.demuxer(head)
    if found == expected:
        return None
    _, words = signature.classify(head)
    what = words or ("another kind of file" if found is None else f"{NAMES[found]} data")
    return Problem(f"ends in {suffix} but is {what}", "Give a file of the kind it says.", field)
