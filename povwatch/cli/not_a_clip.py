"""Describes paths in inputs/ that are no plain files, and what to do instead."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from povwatch.core.layout import shown

if TYPE_CHECKING:
    from pathlib import Path

SPECIAL = {
    stat.S_IFIFO: "a FIFO (a named pipe)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
COPY = "Links are not followed: put the {what} itself here."


def unlike_a_clip(root: Path, path: bytes) -> str:
    """What the path is and why povwatch ignores it; empty for a plain file, or if nothing is there.

    Args:
        root: inputs/.
        path: relative to it.
    """
    at = os.fsencode(root)
    *folders, name = [part for part in path.split(b"/") if part] or [b""]
    for folder in folders:
        at = os.path.join(at, folder)  # noqa: PTH118 - bytes
        if os.path.islink(at):  # noqa: PTH114 - bytes
            return f"the folder {shown(folder)} is a symbolic link. {COPY.format(what='folder')}"
    at = os.path.join(at, name)  # noqa: PTH118 - bytes
    try:
        mode = os.lstat(at).st_mode
    except OSError:
        return ""
    if stat.S_ISLNK(mode):
        return _link(at)
    if stat.S_ISDIR(mode):
        return "a folder, not a clip. Ask for a clip in it."
    if what := SPECIAL.get(stat.S_IFMT(mode)):
        return f"{what}, not a plain file: it is left alone. Copy the video itself here."
    return ""


def _link(at: bytes) -> str:
    to = shown(os.readlink(at))  # noqa: PTH115 - bytes
    if not os.path.exists(at):  # noqa: PTH110 - bytes
        return f"a symbolic link to {to}, which is not there. {COPY.format(what='video')}"
    if os.path.isdir(at):  # noqa: PTH112 - bytes
        return f"a symbolic link to the folder {to}. {COPY.format(what='folder')}"
    return f"a symbolic link to {to}. {COPY.format(what='video')}"
