"""Control files: controls that one job on a clip has computed, for further jobs on the same clip. Python 3.10.

A job leaves them if it is asked to (`leave_control_files`), losslessly, as files of its work folder. Further jobs get
those of their clip (`control_files`), and read what they would have computed, if it was computed in the same way: that
is, with an equal `setting`, and for at least as many frames. Standard library alone.

    job       "leave_control_files": true
              "control_files": [{"setting": {...}, "frames": 93, "path": "/...", "sha256": "...", "size": 1234}]
    artifact  "control_files": the same, of those that it leaves
              "control_files_used": hint key to the digest of the one that was read
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from povwatch.core.cosmos import CONTROLS

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class ControlFile:
    """A control that was computed."""

    setting: dict[str, Any]
    """Everything but the clip that decides its frames, as JSON values; `key` is its hint key."""
    frames: int
    """Frames of it, from the clip's first on."""
    path: str
    sha256: str
    size: int
    """Bytes."""

    @property
    def key(self) -> str:
        """Its hint key."""
        return str(self.setting["key"])

    def to_json(self) -> dict[str, Any]:
        """For a message."""
        return asdict(self)

    @classmethod
    def written(cls, path: str, setting: dict[str, Any], frames: int) -> ControlFile:
        """A file that has just been written."""
        return cls(setting, frames, path, file_digest(path), os.stat(path).st_size)  # noqa: PTH116


def file_digest(path: str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:  # noqa: PTH123 - pathlib is slow to import
        while block := file.read(1024 * 1024):
            digest.update(block)
    return digest.hexdigest()


def files_of(job: Mapping[str, Any]) -> list[ControlFile]:
    """The control files that a job gets."""
    return [ControlFile(**one) for one in job.get("control_files") or ()]


def left_by(artifact: Mapping[str, Any]) -> list[ControlFile]:
    """The control files that an engine says it has left. Other entries are passed over: any engine may have some."""
    entries = artifact.get("control_files")
    return [ControlFile(**one) for one in entries if _is_one(one)] if isinstance(entries, list) else []


def used_by(artifact: Mapping[str, Any]) -> dict[str, str]:
    """The control files that an engine says it has read: hint key to digest."""
    used = artifact.get("control_files_used")
    return {key: str(used[key]) for key in CONTROLS if key in used} if isinstance(used, dict) else {}


def fitting(job: Mapping[str, Any], setting: Mapping[str, Any], frames: int) -> ControlFile | None:
    """The control file of a job that was computed like this, for so many frames; None without one."""
    return next((one for one in files_of(job) if one.setting == setting and one.frames >= frames), None)


def _is_one(entry: object) -> bool:
    types = {"setting": dict, "frames": int, "path": str, "sha256": str, "size": int}
    return (
        isinstance(entry, dict)
        and entry.keys() == types.keys()
        and all(isinstance(entry[name], kind) for name, kind in types.items())
        and entry["setting"].get("key") in CONTROLS
    )
