"""Tells which files upstream reads, by suffix and first bytes. Pure, standard library alone.

A playlist that is called .mp4 must not be opened.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from povwatch.container import signature
from povwatch.core.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

VIDEOS = {".mp4": "mov", ".mov": "mov", ".webm": "matroska", ".avi": "avi"}
"""Suffixes that upstream has a decoder for (easy_io/handlers/registry_utils.py), only in lower case, with FFmpeg's
demuxer for each."""

NAMES = {"mov": "MP4", "matroska": "Matroska", "avi": "AVI"}

IMAGES = {".jpg": "jpeg_pipe", ".jpeg": "jpeg_pipe", ".png": "png_pipe"}


def unreadable(field: str, name: str, head: bytes, known: Mapping[str, str]) -> Problem | None:
    """Why upstream could not read a file that a spec names; None if it could.

    Args:
        field: the spec's field that names the file.
        head: the file's first signature.HEAD bytes.
        known: readable suffixes to FFmpeg's demuxer for each.
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
