"""Results that were sealed when the journal was lost: checked, and synced.

Their manifest lies in the private folder of their run (publish/). The promise can be made again from it, so that no
GPU time is spent twice. If a result is wholly visible and its private folder still exists, its hooks were not over.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.files.fs import closing, open_beneath, read_at_most
from povwatch.ops.rebuild.manifests import SIZE_MAX, Made, parse
from povwatch.publish import Entry, Sealed
from povwatch.publish import files as staged
from povwatch.publish.staging import Staging, folder_name, folder_of, root_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

RESULT = b"final.mp4"
"""The name of a result in its private folder; see attempt/attempt.py."""

_READ = os.O_RDONLY | os.O_NONBLOCK

_MANIFEST = re.compile(rb"manifest_v([0-9]{1,3})\.json")


@dataclass(frozen=True, slots=True)
class Room:
    """One run's promise."""

    made: Made
    sealed: Sealed


def look(outputs: Path, made: Iterable[Made], *, hooks: bool) -> tuple[list[Room], int]:
    """The promises that can still be kept, and the number of runs that are lost.

    Args:
        made: the results with a visible manifest.
        hooks: whether hooks run after a clip. The private folder is removed when they are over, so a visible result
            with a private folder is a promise too. Keeping it only runs the hooks, at worst a second time.
    """
    visible = {(one.job, one.run_id): one for one in made}
    rooms, lost = [], 0
    with ExitStack() as opened:
        root = root_of(outputs, opened)
        for job, run_id in sorted((job, run) for job, run in Staging(outputs).runs() if run):
            shown = visible.get((job, run_id))
            if shown is None:
                found = _room(root, job, run_id)
                lost += found is None
            else:
                found = _uncleared(root, shown) if hooks else None
            if found is not None:
                rooms.append(found)
    return rooms, lost


def _uncleared(root: int, made: Made) -> Room | None:
    """The promise of a visible result, if its files are unchanged."""
    if made.problem or made.file != layout.manifest(made.output.target):
        return None
    folder, name = layout.split(made.file)
    try:
        with ExitStack() as opened:
            here = folder_of(root, folder, opened)
            data = read_at_most(opened.enter_context(closing(open_beneath(here, name, _READ))), SIZE_MAX)
    except OSError:
        return None
    # Any version will do: if the name is taken, publishing takes a later one.
    return _promise(made, 1, b"manifest_v1.json", made.file, data)


def _promise(made: Made, version: int, staged_as: bytes, target: bytes, data: bytes) -> Room:
    result = dataclasses.replace(made.output, staged=RESULT)
    manifest = Entry(staged_as, target, len(data), hashlib.sha256(data).hexdigest())
    return Room(made, Sealed(made.job, made.run_id, version, (result, manifest)))


def _room(root: int, job: int, run_id: str) -> Room | None:
    """A run's promise of the highest version whose result exists, in the private folder or visible."""
    with ExitStack() as opened:
        try:
            here = folder_of(root, layout.STAGING + b"/" + os.fsencode(folder_name(job, run_id)), opened)
        except OSError:
            return None
        names = [os.fsencode(name) for name in os.listdir(here)]  # noqa: PTH208 - a descriptor
        versions = {int(found[1]): name for name in names if (found := _MANIFEST.fullmatch(name))}
        for version in sorted(versions, reverse=True):
            try:
                with closing(open_beneath(here, versions[version], _READ)) as fd:
                    data = read_at_most(fd, SIZE_MAX)
            except OSError:
                continue
            made = parse(data)
            if isinstance(made, Made) and (made.job, made.run_id) == (job, run_id) and _is_there(root, here, made):
                return _promise(made, version, versions[version], layout.manifest(made.output.target), data)
    return None


def _is_there(root: int, here: int, made: Made) -> bool:
    """Whether the result exists, in its private folder or under its final name."""
    if staged.same(here, RESULT, made.output):
        return True
    folder, name = layout.split(made.output.target)
    with ExitStack() as opened:
        try:
            return staged.same(folder_of(root, folder, opened), name, made.output)
        except OSError:
            return False
