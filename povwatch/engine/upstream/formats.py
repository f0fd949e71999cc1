"""Which files upstream reads: the suffix says, and the first bytes have to confirm it. Pure, standard library alone."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from povwatch.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

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

HEAD = 16
"""Bytes that tell it."""


def unreadable(field: str, name: str, head: bytes, known: Mapping[str, str]) -> Problem | None:
    """Why upstream could not read a file that a spec names; None if it could.

    Args:
        field: the spec's field that names it.
        name: of the file.
        head: its first bytes, HEAD of them.
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
    found = next((kind for at, mark, kind in SIGNATURES if head[at : at + len(mark)] == mark), None)
    if found != expected:
        what = "another kind of file" if found is None else f"{found.partition('_')[0]} data"
        return Problem(f"ends in {suffix} but is {what}", "Give a file of the kind it says.", field)
    return None
