"""Tells from a name in inputs/ whether it is a clip, an unfinished download, or none of povwatch's business. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTIALS = frozenset({b".part", b".crdownload", b".filepart", b".download", b".tmp", b".partial", b".!qb", b".aria2"})
"""Suffixes that copy and download tools use for unfinished files, in lower case."""

COMPANIONS = frozenset({b".aria2"})
"""Suffixes of files beside a download that grows under its own name. Files of the others are renamed at the end."""

FOLDERS = frozenset(
    {
        *(b"@eadir", b"#recycle", b"#snapshot", b"@recycle", b"@recently-snapshot", b"~snapshot", b"lost+found"),
        *(b"$recycle.bin", b"recycler", b"system volume information"),
    }
)
"""Folders of storage boxes (Synology, QNAP, NetApp), ext4 and Windows, in lower case.

Shares and file systems that ignore case may spell them otherwise.
Their other folders, and rsync's `.rsync-partial`, begin with a dot.
"""

BUNDLES = (b".download",)
"""Suffixes of folders that hold a browser's unfinished download (Safari), in lower case."""

_RSYNC = re.compile(rb"\.(?P<name>.+)\.[A-Za-z0-9]{6}", re.DOTALL)
"""rsync's temporary name: `.clip.mp4.Ab3xYz`."""


def is_clip_name(name: bytes, suffixes: frozenset[bytes]) -> bool:
    """Whether the name has a clip's suffix; `CLIP.MP4` has.

    `suffixes` are in lower case, with their dots: `b".mp4"`.
    """
    end = suffix(name)
    return end in suffixes and len(end) < len(name)


def suffix(name: bytes) -> bytes:
    """The name from its last dot on, in lower case; empty without a dot."""
    dot = name.rfind(b".")
    return name[dot:].lower() if dot >= 0 else b""


def is_ignored(name: bytes) -> bool:
    """Whether povwatch ignores a file of this name, whatever it holds."""
    return name.startswith((b".", b"~")) or name.endswith(b"~") or suffix(name) in PARTIALS


def is_ignored_folder(name: bytes) -> bool:
    """Whether povwatch ignores a folder of this name."""
    lower = name.lower()
    return name.startswith(b".") or lower in FOLDERS or lower.endswith(BUNDLES)


def named_by_partial(name: bytes) -> bytes | None:
    """The name that an unfinished file will get: `clip.mp4` for `clip.mp4.part` or `.clip.mp4.Ab3xYz`."""
    if suffix(name) in PARTIALS:
        return name[: name.rindex(b".")].removeprefix(b".") or None
    rsync = _RSYNC.fullmatch(name)
    return rsync["name"] if rsync else None


def held_back(partials: Mapping[bytes, int], clips: Mapping[bytes, int]) -> dict[bytes, bytes]:
    """The clips of a folder that have a current unfinished file beside them, each with that file's name.

    An unfinished file that has not changed since the clip did is a left-over: a killed rsync leaves its file for ever,
    and its next run brings the whole clip.

    Args:
        partials: names in the folder to their ctimes; not all need be unfinished files.
        clips: clips of the same folder to their ctimes.
    """
    found = ((named_by_partial(name), name) for name in partials)
    return {
        clip: name
        for clip, name in found
        if clip is not None and clip in clips and (suffix(name) in COMPANIONS or partials[name] >= clips[clip])
    }
