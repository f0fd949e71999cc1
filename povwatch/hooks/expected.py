"""Checks that a hook's expected files exist and are whole.

A video is decoded to its end in a limited child process, JSON is parsed, any other file must not be empty.
Good files are synced: once the journal says that a hook is done, a power cut takes nothing back.
"""

from __future__ import annotations

import json
import os
import posixpath
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from povwatch.config.settings import VIDEO_SUFFIXES
from povwatch.container import Report, TakesLonger, examine
from povwatch.core.errors import EnvironmentFault, NotAVideo, PovwatchError
from povwatch.core.layout import shown
from povwatch.files.fs import closing, fsync_dir
from povwatch.media.run import EXAMINE, call

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

JSON_MAX = 256 * 2**20
"""Larger JSON files, in bytes, are not parsed; they only have to exist."""

TIMEOUT = 4 * 3600.0
"""Seconds to decode one file."""


def first_problem(paths: Sequence[str], cancelled: threading.Event) -> tuple[str, dict[str, int]]:
    """The problem of the first bad file, as a clause ("x.mp4 is not there"), and the frames of each video.

    Args:
        paths: absolute.

    Raises:
        EnvironmentFault: the machine prevents the check.
        MediaStopped: the check is no longer wanted.
    """
    frames: dict[str, int] = {}
    for path in paths:
        name = shown(os.fsencode(posixpath.basename(path)))
        try:
            with closing(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)) as fd:
                wrong = _problem_of(path, fd, frames, cancelled)
                os.fsync(fd)
            with closing(os.open(posixpath.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as folder:
                fsync_dir(folder)
        except FileNotFoundError:
            return f"{name} is not there", frames
        except OSError as error:
            return f"{name} cannot be read ({error.strerror}; a link counts for nothing)", frames
        if wrong:
            return f"{name} {wrong}", frames
    return "", frames


def _problem_of(path: str, fd: int, frames: dict[str, int], cancelled: threading.Event) -> str:
    """The problem of one file, as a clause; empty if there is none."""
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return "is no plain file"
    if not status.st_size:
        return "is empty"
    suffix = Path(path).suffix.lower()
    if suffix in VIDEO_SUFFIXES:
        return _problem_of_video(path, fd, frames, cancelled)
    if suffix == ".json" and status.st_size <= JSON_MAX:
        return _problem_of_json(fd)
    return ""


def _problem_of_json(fd: int) -> str:
    try:
        with open(fd, "rb", closefd=False) as file:
            json.load(file)
    except (ValueError, RecursionError) as error:
        return f"is no JSON ({error})"
    return ""


def _problem_of_video(path: str, fd: int, frames: dict[str, int], cancelled: threading.Event) -> str:
    name = posixpath.basename(path)
    try:
        report = _examined(path, fd, cancelled)
        if report.not_video:
            return f"is no video ({report.not_video})"
        if not report.complete:
            return f"is not whole ({report.why.rstrip('.')})"
        found = call("decode", {"path": path, "kind": str(report.kind)}, timeout=TIMEOUT, cancelled=cancelled)
    except EnvironmentFault:
        raise
    except NotAVideo as error:
        return error.what.removeprefix(f"{shown(os.fsencode(name))} ").rstrip(".")
    except PovwatchError as error:
        if cancelled.is_set():
            raise
        return f"cannot be judged ({error.what.rstrip('.')})"
    frames[name] = found["frames"]
    return ""


def _examined(path: str, fd: int, cancelled: threading.Event) -> Report:
    """The container's report. A child process reads a long index."""
    size = os.fstat(fd).st_size
    try:
        return examine(fd, size, brief=True)
    except TakesLonger:
        args = {"path": path, "size": size}
        return Report.from_json(call("examine", args, timeout=TIMEOUT, limits=EXAMINE, cancelled=cancelled))
