"""Names a file that a hook leaves in a clip's folder in outputs/, as `povwatch.keep` and `spec.keep` do. Pure."""

from __future__ import annotations

from povwatch.core.layout import STAGING

TODO = 'Name a file that a hook leaves in the clip\'s folder in outputs/, from there: "3_mano_no_overlay.mp4".'

DILATE = 12
"""Pixels of the clip around what is kept, by default."""

DILATE_MAX = 256


def misplaced(path: str) -> str:
    """Why a path names no file below the clip's folder in outputs/, as a clause; empty if it may name one."""
    parts = path.split("/")
    found = {
        "names no file": not path.strip(),
        "names a folder": parts[-1] in {"", "."},
        "has a null character in it": "\0" in path,
        "is an absolute path": path.startswith("/"),
        "begins with ~, which stands for a home folder": path.startswith("~"),
        "leaves the clip's folder in outputs/ by '..'": ".." in parts,
        "leads into povwatch's private folder": STAGING.decode() in parts,
    }
    return next((why for why, so in found.items() if so), "")
