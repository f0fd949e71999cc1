"""Finds what a hook changed in inputs/, where it must not write, by a look before the run and one after it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.files.fs import FOLDER, closing, open_beneath
from povwatch.files.names import is_ignored
from povwatch.files.signature import same_content, signature

if TYPE_CHECKING:
    from pathlib import Path

    from povwatch.core.job import Job

NAMED = 3
"""At most so many new files are named."""


@dataclass(frozen=True, slots=True)
class InputsLook:
    """The clip's files in inputs/ at one moment."""

    clip: bytes | None
    """The clip's signature; None if it is missing."""
    spec: bytes | None
    """The JSON's signature; None if it is missing."""
    like_it: frozenset[bytes]
    """Names in the clip's folder that begin with the clip's name: `clip_overlay.mp4`."""


def look(inputs: Path, job: Job) -> InputsLook | None:
    """Look at the files; None if the folder cannot be read."""
    beside = layout.beside(job.path, job.base)
    folder, name = layout.split(job.path)
    own = {layout.split(path)[1] for path in (job.path, beside.spec, beside.error, beside.go, beside.hold)}
    # `clip2.mp4` is another clip; a program that reads clip.mp4 writes clip_overlay.mp4 or clip.mp4.npz.
    like_it = re.compile(rb"(?:%s)[^0-9A-Za-z]" % b"|".join(map(re.escape, {name, job.base, layout.stem_of(name)})))
    try:
        with (
            closing(os.open(inputs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root,
            closing(open_beneath(root, folder, FOLDER)) as there,
        ):
            found = [os.fsencode(entry) for entry in os.listdir(there)]  # noqa: PTH208 - a descriptor
            return InputsLook(
                _signature(there, name),
                _signature(there, layout.split(beside.spec)[1]),
                frozenset(n for n in found if n not in own and like_it.match(n) and not is_ignored(n)),
            )
    except OSError:
        return None


def difference(before: InputsLook | None, after: InputsLook | None, job: Job) -> str:
    """What changed between two looks, as a clause; empty if nothing did."""
    if before is None or after is None:
        return ""
    spec = layout.shown(layout.split(layout.beside(job.path, job.base).spec)[1])
    found = []
    for what, then, now in (("the clip", before.clip, after.clip), (spec, before.spec, after.spec)):
        if then is not None and now is None:
            found.append(f"{what} went away")
        elif then is not None and now is not None and not same_content(then, now):
            found.append(f"{what} changed")
    if new := sorted(after.like_it - before.like_it):
        more = f" and {len(new) - NAMED} more" if len(new) > NAMED else ""
        found.append(f"{', '.join(map(layout.shown, new[:NAMED]))}{more} appeared")
    return ", ".join(found)


def _signature(folder: int, name: bytes) -> bytes | None:
    try:
        return signature(os.lstat(name, dir_fd=folder))
    except FileNotFoundError:
        return None
