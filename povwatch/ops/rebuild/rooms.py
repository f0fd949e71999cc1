"""Results that were sealed when the journal was lost: checked, and on the disk.

Their manifest lies in the room of their run (publish/): with it their promise can be made again and kept, so that no
GPU time is spent a second time. One that is wholly visible and whose room is still there had its hooks to come.
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
from povwatch.publish.staging import Staging, folder_of, room, root_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

RESULT = b"final.mp4"
"""What a run's result is called in its room; see attempt/attempt.py."""

_READ = os.O_RDONLY | os.O_NONBLOCK

_MANIFEST = re.compile(rb"manifest_v([0-9]{1,3})\.json")


@dataclass(frozen=True, slots=True)
class Room:
    """One run's promise."""

    made: Made
    sealed: Sealed


def look(outputs: Path, made: Iterable[Made], *, hooks: bool) -> tuple[list[Room], int]:
    """The promises that can still be kept; and how many runs were under way that cannot go on.

    Args:
        outputs: the folder.
        made: the results with a manifest that is visible.
        hooks: programs run after a clip. A room is cleared when they are over, so a visible result that has one is a
            promise too: its keeping changes nothing, and they run; a second time at worst.
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
    """The promise of a result that is visible, if nobody has touched it since."""
    if made.problem or made.file != layout.manifest(made.output.target):
        return None
    folder, name = layout.split(made.file)
    try:
        with ExitStack() as opened:
            here = folder_of(root, folder, opened)
            data = read_at_most(opened.enter_context(closing(open_beneath(here, name, _READ))), SIZE_MAX)
    except OSError:
        return None
    return _promise(made, 1, b"manifest_v1.json", made.file, data)  # whichever it was: should it be taken, a later one


def _promise(made: Made, version: int, staged_as: bytes, target: bytes, data: bytes) -> Room:
    result = dataclasses.replace(made.output, staged=RESULT)
    manifest = Entry(staged_as, target, len(data), hashlib.sha256(data).hexdigest())
    return Room(made, Sealed(made.job, made.run_id, version, (result, manifest)))


def _room(root: int, job: int, run_id: str) -> Room | None:
    """A run's promise of the highest version whose result is there, in the room or shown already."""
    with ExitStack() as opened:
        try:
            here = folder_of(root, layout.STAGING + b"/" + os.fsencode(room(job, run_id)), opened)
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
    """Whether the result is in its room, or has its final name already."""
    if staged.same(here, RESULT, made.output):
        return True
    folder, name = layout.split(made.output.target)
    with ExitStack() as opened:
        try:
            return staged.same(folder_of(root, folder, opened), name, made.output)
        except OSError:
            return False
