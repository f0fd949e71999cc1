"""What the page says about results: from the manifests beside them, and small pictures. Runs in a thread.

Somebody may have changed a manifest: it is read as data of a stranger's.
"""

from __future__ import annotations

import base64
import json
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from povwatch.core import layout
from povwatch.core.errors import PovwatchError
from povwatch.core.layout import shown
from povwatch.files.fs import closing, components, open_beneath, read_at_most
from povwatch.media.errors import MediaStopped
from povwatch.media.run import Limits, call
from povwatch.page.cards import address, as_json, scores
from povwatch.publish.own_files import add_own, own_names
from povwatch.service.log import one_line

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FILES = b"index_files"
"""The folder of the page's files in outputs/, named as browsers name it when they save a page."""

PICTURES = FILES + b"/pictures"
TIMES = FILES + b"/times"

MANIFEST_MAX = 4 * 2**20
"""Bytes of a manifest that is read."""

LIMITS = Limits(memory=8 * 2**30, cpu_seconds=120, file_bytes=2**20, nice=15)

TIMEOUT = 120.0
"""Seconds that a picture may take."""

AT_ONCE = 1.0
"""Seconds after which no further result is read in one go, so that the page is written meanwhile."""

_NAME = re.compile(r"[0-9A-Za-z_-]{1,64}")

MOVED_NAMES_MAX = 20
"""The most names of a moved clip that are tried."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the folders are."""

    inputs: Path
    outputs: Path
    moved_to: str
    """publish.source_to if finished clips are moved; empty otherwise."""

    @property
    def to_inputs(self) -> bytes:
        """inputs/, relative to outputs/."""
        return os.path.relpath(os.fsencode(self.inputs), os.fsencode(self.outputs))


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """A job whose result is read."""

    job: int
    path: bytes
    """The clip."""
    output: bytes
    earlier: bool = False
    """Whether the result is of an earlier job of this clip and look; then nothing is said of one that has gone."""


def read_results(
    cancelled: threading.Event, folders: Folders, wanted: Sequence[PublishedResult], *, draw: bool
) -> dict[int, dict[str, Any]]:
    """Read what results say for their cards, by job. Some may be missing at the end: they were not read.

    Args:
        draw: whether to make pictures that are missing, which takes a child a second each.
    """
    begun = time.monotonic()
    found: dict[int, dict[str, Any]] = {}
    pictures = own_names(folders.outputs, PICTURES)
    for one in wanted:
        if cancelled.is_set() or time.monotonic() - begun > AT_ONCE:
            break
        found[one.job] = _read_result(cancelled, folders, one, pictures=pictures, draw=draw)
    return found


def input_of(folders: Folders, path: bytes, size: int | None) -> tuple[bytes | None, str]:
    """The clip, relative to inputs/, where it is now; None if it is not there. And what is to be said about it."""
    folder, name = layout.split(path)
    places = [path]
    if folders.moved_to:
        to = layout.filled(folders.moved_to, folder=folder, name=name)
        root, suffix = os.path.splitext(to)  # noqa: PTH122 - bytes
        places += [to, *(b"%s_v%d%s" % (root, number, suffix) for number in range(2, MOVED_NAMES_MAX))]
    replaced = False
    for number, candidate in enumerate(places):
        try:
            status = (folders.inputs / os.fsdecode(candidate)).lstat()
        except OSError:
            if number > 1:
                break
            continue
        if size is None or status.st_size == size:
            return candidate, ""
        replaced = True
    return None, "The input has been replaced since." if replaced else "The input is no longer in inputs/."


def _read_result(
    cancelled: threading.Event, folders: Folders, one: PublishedResult, *, pictures: set[bytes], draw: bool
) -> dict[str, Any]:
    if one.earlier and not os.path.lexists(folders.outputs / os.fsdecode(one.output)):
        return {}
    text = _manifest(folders.outputs, layout.manifest(one.output))
    source, output = _object(text.get("source")), _object(text.get("output"))
    clip, said = input_of(folders, one.path, _whole(source.get("size")))
    found: dict[str, Any] = {
        "output": shown(one.output),
        "kind": "preview" if text.get("kind", b"_preview" in one.output and "preview") == "preview" else "aug",
        "scores": scores(text.get("scores")),
        "drawn": {str(key)[:80]: str(value)[:200] for key, value in _object(text.get("drawn")).items()},
        "views": _views(folders, one, text, clip),
        "input": said,
        "constant": source.get("constant") is not False,
        "rate": str(output.get("rate") or source.get("rate") or "")[:40],
        "frames": _whole(output.get("frames")),
    }
    if text:
        found["manifest"] = address(layout.manifest(one.output))
        found["run"] = str(text.get("run_id"))[:80]
        found["spec"] = _object(text.get("spec"))
        if (sheet := _path(_object(text.get("sheet")).get("path_hex"))) is not None:
            found["sheet"] = address(sheet)
    name = text.get("run_id") if _NAME.fullmatch(str(text.get("run_id"))) else f"job-{one.job}"
    if draw or f"{name}.jpg".encode() in pictures:
        found |= _picture(cancelled, folders, one, clip, str(name), pictures=pictures, even=bool(found["constant"]))
    found |= _judged(_object(text.get("quality")))
    return {key: value for key, value in found.items() if value not in (None, "", {}, [])}


def _judged(quality: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the result has passed what [quality] asks for, in words too, and the seeds that were tried."""
    tries = quality.get("tries")
    found: dict[str, Any] = {
        "passed": passed if isinstance(passed := quality.get("passed"), bool) else None,
        "verdict": one_line(str(quality.get("verdict") or ""))[:500],
        "tries": [
            {
                "seed": _whole(one.get("seed")),
                "passed": one.get("passed") is True,
                "published": one.get("published") is True,
            }
            for one in (tries if isinstance(tries, list) else [])[:100]
            if isinstance(one, dict)
        ],
    }
    return found


def _views(folders: Folders, one: PublishedResult, text: Mapping[str, Any], clip: bytes | None) -> list[dict[str, Any]]:
    """The videos that can be played, each with its address and codec: the input, the controls, the result."""
    source, output = _object(text.get("source")), _object(text.get("output"))
    found: list[dict[str, Any]] = []
    if clip is not None:
        found.append({"what": "input", "at": address(clip, folders.to_inputs), "codec": _word(source.get("codec"))})
    folder = layout.split(one.output)[0]
    for key, control in _object(text.get("control_videos")).items():
        path = _path(_object(control).get("path_hex"))
        if path is not None and layout.split(path)[0] == folder:
            found.append({"what": f"control {_word(key)}", "at": address(path), "codec": "h264"})
    found.append({"what": "result", "at": address(one.output), "codec": _word(output.get("codec"))})
    return found


def _picture(
    cancelled: threading.Event,
    folders: Folders,
    one: PublishedResult,
    clip: bytes | None,
    name: str,
    *,
    pictures: set[bytes],
    even: bool,
) -> dict[str, str]:
    """The addresses of the small picture, and of the times of its frames if they are uneven."""
    jpeg, times = (folder + b"/" + name.encode() for folder in (PICTURES, TIMES))
    jpeg, times = jpeg + b".jpg", times + b".js"
    found = {"picture": address(jpeg)} | ({} if even else {"uneven": address(times)})
    if layout.split(jpeg)[1] in pictures:
        return found
    videos = [(folders.outputs, one.output)]
    if clip is not None:
        videos.insert(0, (folders.inputs, clip))
    made = _made(cancelled, videos, even=even) or (_made(cancelled, videos[1:], even=even) if videos[1:] else None)
    if made is None:
        return {}
    if made["times"] is not None:
        script = f"/* povwatch */\npovwatch.times({as_json({'name': name, 'times': made['times']})});\n"
        add_own(folders.outputs, times, script.encode())
    add_own(folders.outputs, jpeg, base64.b64decode(made["jpeg"]))
    return found


def _made(cancelled: threading.Event, videos: Sequence[tuple[Path, bytes]], *, even: bool) -> dict[str, Any] | None:
    """The picture; None if one of the videos is gone, or cannot be read."""
    args = {
        "videos": [{"root": str(root), "path": os.fsdecode(path)} for root, path in videos],
        "times": not even,
    }
    try:
        return call("still", args, timeout=TIMEOUT, limits=LIMITS, cancelled=cancelled)
    except MediaStopped:
        raise
    except PovwatchError:
        return None


def _manifest(outputs: Path, path: bytes) -> dict[str, Any]:
    """A manifest; an empty one if there is none that can be read."""
    try:
        with (
            closing(os.open(outputs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root,
            closing(open_beneath(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)) as fd,
        ):
            data = read_at_most(fd, MANIFEST_MAX)
        return _object(json.loads(data))
    except (OSError, ValueError, RecursionError):
        return {}


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _word(value: object) -> str:
    return str(value or "")[:40]


def _path(text: object) -> bytes | None:
    try:
        return b"/".join(components(bytes.fromhex(str(text)))) or None
    except ValueError:
        return None
