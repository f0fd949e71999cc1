"""What a name in inputs/ says: a clip, somebody's unfinished download, or nothing of ours. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PARTIALS = frozenset({b".part", b".crdownload", b".filepart", b".download", b".tmp", b".partial", b".!qb", b".aria2"})
"""Endings that copy and download tools use while they work, in lower case."""

COMPANIONS = frozenset({b".aria2"})
"""Of those, what lies beside a file that grows under its own name; the others are renamed to it when they are whole."""

FOLDERS = frozenset(
    {
        *(b"@eadir", b"#recycle", b"#snapshot", b"@recycle", b"@recently-snapshot", b"~snapshot", b"lost+found"),
        *(b"$recycle.bin", b"recycler", b"system volume information"),
    }
)
"""Folders that storage boxes (Synology, QNAP, NetApp), ext4 and Windows keep for themselves, in lower case.

Shares and file systems that do not tell `A` from `a` may show them in another spelling.
What else they keep, and rsync's `.rsync-partial`, begins with a dot.
"""

BUNDLES = (b".download",)
"""Endings of folders in which a browser keeps an unfinished download (Safari), in lower case."""

_RSYNC = re.compile(rb"\.(?P<name>.+)\.[A-Za-z0-9]{6}", re.DOTALL)
"""rsync's temporary name: `.clip.mp4.Ab3xYz`."""


def is_clip_name(name: bytes, extensions: frozenset[bytes]) -> bool:
    """Whether the name ends as a clip's does; `CLIP.MP4` does too.

    Args:
        name: A file name without its folder.
        extensions: In lower case, with their dots: `b".mp4"`.
    """
    end = suffix(name)
    return end in extensions and len(end) < len(name)


def suffix(name: bytes) -> bytes:
    """From the last dot on, in lower case; without a dot, empty."""
    dot = name.rfind(b".")
    return name[dot:].lower() if dot >= 0 else b""


def is_ignored(name: bytes) -> bool:
    """Whether a file of this name is none of our business, whatever it holds."""
    return name.startswith((b".", b"~")) or name.endswith(b"~") or suffix(name) in PARTIALS


def is_ignored_folder(name: bytes) -> bool:
    """Whether a folder of this name is not looked into."""
    lower = name.lower()
    return name.startswith(b".") or lower in FOLDERS or lower.endswith(BUNDLES)


def named_by_partial(name: bytes) -> bytes | None:
    """The file that an unfinished one will become: `clip.mp4` for `clip.mp4.part` or `.clip.mp4.Ab3xYz`."""
    if suffix(name) in PARTIALS:
        return name[: name.rindex(b".")].removeprefix(b".") or None
    rsync = _RSYNC.fullmatch(name)
    return rsync["name"] if rsync else None


def held_back(partials: Mapping[bytes, int], clips: Mapping[bytes, int]) -> dict[bytes, bytes]:
    """Clips of a folder that an unfinished file beside them still speaks for, each with that file's name.

    One that has not changed since the clip did is a left-over: an rsync that is killed leaves its file for ever, and
    the clip came whole from the next.

    Args:
        partials: The unfinished files of one folder (others may be among them), each with its ctime.
        clips: The clips of the same folder, likewise.
    """
    found = ((named_by_partial(name), name) for name in partials)
    return {
        clip: name
        for clip, name in found
        if clip is not None and clip in clips and (suffix(name) in COMPANIONS or partials[name] >= clips[clip])
    }
