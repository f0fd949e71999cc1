"""What becomes of each clip and each result when the journal is made again. Pure.

The rules, first match:

1. A result that was sealed, and that is not wholly visible or has its hooks to come, is published; its clip is not run.
2. A clip whose content has a manifest, and whose JSON asks for what that ran with, is done.
3. A clip beside whose names lies a result that no manifest describes is held: it may be the clip's, and a person knows.
4. A clip whose content has a manifest and whose JSON asks for something else is run with that, as after any edit.
5. Any other clip is new.

A result whose clip is gone is kept as known: the same clip is done already when it comes again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from povwatch.core import layout

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from povwatch.ops.rebuild.manifests import Made
    from povwatch.ops.rebuild.rooms import Room

KINDS = ("aug", "preview")

_VERSION = re.compile(rb"(.+)_v[0-9]{1,3}(\.[^./]*)", re.DOTALL)


class Fate(StrEnum):
    """What a clip is in the new journal."""

    DONE = "done"
    """Its result is there; nothing is run."""
    PUBLISH = "to be published"
    """Its result is checked and on the disk, and is made visible at the next start."""
    EDITED = "edited since"
    """It is run with its JSON as it is now."""
    NEW = "new"
    """It arrives at the next start."""
    HELD = "held"
    """It arrives, and waits until somebody says go."""
    GONE = "gone"
    """It is not in inputs/ any more; its result stays known."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip in inputs/."""

    path: bytes
    base: bytes
    signature: bytes
    source_hash: str | None = None
    """Of its content, where a manifest makes it worth reading; None if it changed meanwhile."""
    unreadable: str = ""
    """Why it could not be read."""
    has_spec: bool = False
    spec_hash: str | None = None
    """Of what its JSON asks for; None if there is none, or it cannot be run."""
    spec_stat: bytes | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One clip and what becomes of it."""

    path: bytes
    fate: Fate
    why: str = ""
    """One sentence without its full stop, where there is something to say."""


@dataclass(slots=True)
class Plan:
    """All of it."""

    verdicts: list[Verdict] = field(default_factory=list)
    """A line for each clip that is in inputs/ or has a result, by path."""
    made: list[tuple[int, Made]] = field(default_factory=list)
    """Results with the number that their job gets, oldest first."""
    rooms: list[Room] = field(default_factory=list)
    """Promises to be kept. Their jobs keep their numbers, which their rooms go by."""
    bases: dict[bytes, bytes] = field(default_factory=dict)
    """The names of every clip that is in inputs/ or has a result."""

    def count(self, fate: Fate) -> int:
        """How many clips have it."""
        return sum(verdict.fate is fate for verdict in self.verdicts)


def plan(
    made: Sequence[Made], rooms: Sequence[Room], clips: Sequence[Clip], leftovers: Mapping[bytes, bytes], *, hold: bool
) -> Plan:
    """Decide.

    Args:
        made: every manifest that can be used, oldest first.
        rooms: every promise that can be kept.
        clips: what is in inputs/.
        leftovers: clip to a result that may be its own, and that no manifest describes.
        hold: hold the new clips and the edited ones too.
    """
    made = _each_once(made)
    promises = {_run(room.made) for room in rooms}
    highest = {one.path: number for number, one in _numbered([one for one in made if _run(one) not in promises], rooms)}
    # One with a number that is taken cannot be trusted.
    found = Plan(rooms=[room for room in rooms if room.made.job > highest.get(room.made.path, 0)])
    kept = {_run(room.made) for room in found.rooms}
    made = [one for one in made if _run(one) not in kept]
    found.made = _numbered(made, found.rooms)
    promised = {room.made.path: room.made for room in found.rooms}
    of_path: dict[bytes, list[Made]] = {}
    for one in made:
        of_path.setdefault(one.path, []).append(one)
    for clip in clips:
        found.bases[clip.path] = clip.base
        verdict = _verdict(clip, of_path.get(clip.path, []), promised.get(clip.path), leftovers.get(clip.path))
        if hold and verdict.fate in {Fate.NEW, Fate.EDITED}:
            verdict = Verdict(clip.path, Fate.HELD, verdict.why or "it has no result, and --hold was given")
        found.verdicts.append(verdict)
    there = {clip.path for clip in clips}
    for path in (of_path.keys() | promised.keys()) - there:
        found.verdicts.append(Verdict(path, Fate.PUBLISH if path in promised else Fate.GONE))
    for path, base in bases_of(made, found.rooms).items():
        found.bases.setdefault(path, base)
    found.bases = _one_each(found.bases)
    found.verdicts.sort(key=lambda verdict: verdict.path)
    return found


def bases_of(made: Iterable[Made], rooms: Iterable[Room]) -> dict[bytes, bytes]:
    """Each clip's names by its results; the newest has the last word where two say otherwise."""
    found = {one.path: one.base for one in made} | {room.made.path: room.made.base for room in rooms}
    return _one_each(found)


def leftovers(pattern: str, bases: Mapping[bytes, bytes], strays: Iterable[bytes]) -> dict[bytes, bytes]:
    """Clip to a file that has the name of its result, in any version.

    Args:
        pattern: `publish.layout`.
        bases: clip to base.
        strays: files in outputs/ that no manifest describes.
    """
    by_name: dict[bytes, bytes] = {}
    for stray in strays:
        by_name.setdefault(_VERSION.sub(rb"\1\2", stray), stray)
    found = {}
    for path, base in bases.items():
        for kind in KINDS:
            name = layout.output(pattern, path, base, kind)
            if name in by_name:
                found[path] = by_name[name]
    return found


def _verdict(clip: Clip, made: Sequence[Made], promised: Made | None, leftover: bytes | None) -> Verdict:
    if promised is not None:
        return Verdict(clip.path, Fate.PUBLISH)
    if clip.unreadable:
        return Verdict(clip.path, Fate.HELD, f"it cannot be compared with its result ({clip.unreadable})")
    same = [one for one in made if one.source_hash == clip.source_hash]
    if same and (not clip.has_spec or clip.spec_hash in {one.spec_hash for one in same}):
        return Verdict(clip.path, Fate.DONE, same[-1].problem)
    if leftover is not None:
        return Verdict(clip.path, Fate.HELD, f"{layout.shown(leftover)} has no manifest, and may be its result")
    if not same:
        return Verdict(clip.path, Fate.NEW)
    why = "its JSON says something else than its result was made with"
    return Verdict(clip.path, Fate.EDITED, why if clip.spec_hash else "its JSON cannot be run as it stands")


def _run(made: Made) -> tuple[bytes, str]:
    return made.path, made.run_id


def _each_once(made: Sequence[Made]) -> list[Made]:
    """The results without copies that somebody made of them; of two the one with its video counts."""
    found: dict[tuple[bytes, str, float], Made] = {}
    for one in made:
        key = (one.path, one.run_id, one.finished)
        if key not in found or (found[key].problem and not one.problem):
            found[key] = one
    return list(found.values())


def _numbered(made: Sequence[Made], rooms: Sequence[Room]) -> list[tuple[int, Made]]:
    """Each result with its job's number: the one that it had, where no other journal used it too.

    A clip's newest job has to have its highest number.
    """
    taken = {room.made.job for room in rooms}
    fresh = max([*taken, *(one.job for one in made)], default=0)
    newest: dict[bytes, int] = {}
    found = []
    for one in made:
        number = one.job
        if number in taken or number <= newest.get(one.path, 0):
            fresh += 1
            number = fresh
        taken.add(number)
        newest[one.path] = number
        found.append((number, one))
    return found


def _one_each(bases: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The bases, each for one clip of its folder: the last clip that says so."""
    owner = {(layout.split(path)[0], base): path for path, base in bases.items()}
    return {path: base for path, base in bases.items() if owner[layout.split(path)[0], base] == path}
