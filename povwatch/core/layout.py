"""The names of a clip's files, beside it in inputs/ and in outputs/. Pure.

A clip's files are named after its **base**: its stem; its full name, if another clip of the folder has that stem
already; or a shortened name with a digest, if a file name would grow too long for the file system.
The journal records which clip has a base, first come first served, so names never change later.
Paths are bytes as the file system spells them, and need not be UTF-8.
"""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

NAME_MAX = 255
"""Bytes in a file name, on every file system that people on Linux record to."""

SUFFIX_MAX = 32
"""Bytes kept free behind a base for the longest suffix, such as `_aug_v999_control_depth.mp4`."""

UTF8_MAX = 4
"""Bytes in the longest UTF-8 character."""

SHARED = 200
"""Bytes that all bases of a clip share at their beginning: a cut keeps more of the name than that."""

OURS = b".povwatch-"
"""The prefix of povwatch's temporary files in inputs/. They are removed at start."""

ERROR = b".error.txt"
"""The suffix of error files."""

STAGING = b".povwatch"
"""The folder in outputs/ that holds work in progress."""


@dataclass(frozen=True, slots=True)
class Beside:
    """The files that belong to one look of a clip in inputs/, as paths relative to inputs/."""

    clip: bytes
    spec: bytes
    error: bytes
    go: bytes
    hold: bytes


def split(path: bytes) -> tuple[bytes, bytes]:
    """Folder (empty for the top one) and name of a relative path."""
    folder, _, name = path.rpartition(b"/")  # called for every clip of a scan; posixpath.split is five times slower
    return folder, name


def stem_of(name: bytes) -> bytes:
    """The name without its last suffix, as posixpath.splitext gives it, in a third of the time."""
    dot = name.rfind(b".")
    return name[:dot] if name[:dot].strip(b".") and dot > 0 else name


def bases(name: bytes) -> Iterator[bytes]:
    """The bases that a clip of this name may have, best first. No other clip can have the last one."""
    for base in (stem_of(name), name):
        yield base if len(base) + SUFFIX_MAX <= NAME_MAX else _cut(base, name)
    yield _cut(name, name)


def bases_like(name: bytes) -> tuple[bytes, bytes]:
    """Two names between which every base of this clip sorts, as bytes."""
    begin = stem_of(name)[:SHARED]
    return begin, begin + b"\xff" * (NAME_MAX - len(begin))


def assign_bases(paths: Iterable[bytes], known: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """Assign each clip its base where no journal is written: the known one, else the first that is free.

    Clips choose in the order of `paths`.
    """
    found: dict[bytes, bytes] = {}
    taken = {(split(path)[0], base) for path, base in known.items()}
    for path in paths:
        folder, name = split(path)
        base = known.get(path) or next(base for base in bases(name) if (folder, base) not in taken)
        taken.add((folder, base))
        found[path] = base
    return found


def precedence(path: bytes) -> tuple[bytes, bytes, bool, bytes]:
    """Sort key for clips that are seen together and choose their bases: of one stem, the MP4 goes first."""
    folder, name = split(path)
    stem = stem_of(name)
    return folder, stem, name[len(stem) :].lower() != b".mp4", name


def beside(path: bytes, stem: bytes) -> Beside:
    """The files beside the clip at `path`. `stem` is its base, or that of a look: see looks.py."""
    folder, _ = split(path)

    def there(suffix: bytes) -> bytes:
        return posixpath.join(folder, stem + suffix)

    # A look whose name is too long has an error file all the same.
    error = there(ERROR) if len(stem + ERROR) <= NAME_MAX else posixpath.join(folder, _cut(stem, stem) + ERROR)
    return Beside(path, there(b".json"), error, there(b".go"), there(b".hold"))


def spec_beside(path: bytes, stem: bytes) -> bytes:
    """The JSON of this stem. Faster than `beside`, for a hundred thousand clips."""
    return path[: path.rfind(b"/") + 1] + stem + b".json"


def output(layout: str, path: bytes, base: bytes, kind: str, version: int = 1) -> bytes:
    """The result's path, relative to outputs/: `publish.layout` filled in for this clip.

    A `version` above 1 names another run of a clip whose earlier result still exists: `clip_aug_v2.mp4`.
    """
    folder, _ = split(path)
    path = filled(layout, folder=folder, stem=base, kind=kind.encode())
    if version > 1:
        root, suffix = posixpath.splitext(path)
        path = b"%s_v%d%s" % (root, version, suffix)
    return path


def control(output_path: bytes, key: str) -> bytes:
    """The control video beside a result: `clip_aug_control_edge.mp4`. Upstream adds the same suffix."""
    root, suffix = posixpath.splitext(output_path)
    return b"%s_control_%s%s" % (root, key.encode(), suffix)


def sheet(layout: str, path: bytes, base: bytes, kind: str, version: int = 1) -> bytes:
    """The path of a result's contact sheet, relative to outputs/: `clip_sheet.jpg`, if `kind` is `sheet`."""
    return posixpath.splitext(output(layout, path, base, kind, version))[0] + b".jpg"


def rejected(output_path: bytes, seed: int) -> bytes:
    """The result of another seed, in a folder beside the result: `clip_aug_rejected/seed_1.mp4`."""
    root, suffix = posixpath.splitext(output_path)
    return b"%s_rejected/seed_%d%s" % (root, seed, suffix)


def filled(pattern: str, **values: bytes) -> bytes:
    """A pattern of the configuration, such as `{folder}/.done/{name}`, with its placeholders filled in."""
    path = pattern.encode()
    for name in values:
        # Replacing one after the other would also fill in a value's own text: a clip may be called "{kind}.mp4".
        path = path.replace(b"{%s}" % name.encode(), b"\0%s\0" % name.encode())
    for name, value in values.items():
        path = path.replace(b"\0%s\0" % name.encode(), value)
    return posixpath.normpath(path).lstrip(b"/")


def manifest(output_path: bytes) -> bytes:
    """The manifest beside a result: the same name with `.json`."""
    return posixpath.splitext(output_path)[0] + b".json"


def shown(name: bytes) -> str:
    """A name for people: printable, on one line, whatever bytes it holds.

    Control characters, invisible characters and bytes that are no UTF-8 become backslash escapes, so that no name can
    forge a log line or move a terminal's cursor.
    """
    text = name.decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _cut(base: bytes, name: bytes) -> bytes:
    """The beginning of the base and the name's digest. The cut falls between characters."""
    digest = hashlib.sha256(name).hexdigest()[:8].encode()
    room = NAME_MAX - SUFFIX_MAX - len(digest) - 1
    head = base[:room]
    if len(head) < len(base):
        whole = head.decode("utf-8", "ignore").encode()  # without the character that was cut in two
        head = whole if head.startswith(whole) and len(head) - len(whole) < UTF8_MAX else head
    return head + b"~" + digest
