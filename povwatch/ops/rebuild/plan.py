"""Decides about each look of a clip and each result when the journal is made again. Pure.

The first matching rule applies:

1. A sealed result that is not wholly visible, or whose hooks are still to run, is published. Its clip does not run.
2. A clip whose content and spec have a manifest is done.
3. A clip is held if a result without a manifest has its name: only a person knows whether it is the clip's.
4. A clip whose content has a manifest with another spec runs, as after any edit.
5. Any other clip is new.

Results whose clips are gone stay known: when such a clip comes back, it is done.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.looks import OWN, Owner, called, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from povwatch.ops.rebuild.outputs import Promise, Result

KINDS = ("aug", "preview")

_VERSION = re.compile(rb"(.+)_v[0-9]{1,3}(\.[^./]*)", re.DOTALL)


class Fate(StrEnum):
    """The decision about a clip."""

    DONE = "done"
    """Its result exists; it does not run."""
    PUBLISH = "to be published"
    """Its result is checked and on the disk; the next start makes it visible."""
    EDITED = "edited since"
    """It runs with its current JSON."""
    NEW = "new"
    """It arrives at the next start."""
    HELD = "held"
    """It arrives, and waits for a go."""
    GONE = "gone"
    """It is gone from inputs/; its result stays known."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip in inputs/."""

    path: bytes
    base: bytes
    signature: bytes
    source_hash: str | None = None
    """SHA-256 of its content; None if no manifest has its size, or it changed while it was read."""
    unreadable: str = ""
    """Why it could not be read."""
    has_spec: bool = False
    spec_hash: str | None = None
    """The digest of its spec; None if it has no JSON, or an invalid one."""
    spec_stat: bytes | None = None
    look: str = OWN
    """The look of the clip that this is about. Each look with a JSON has an entry of its own."""

    @property
    def key(self) -> Owner:
        """The clip and its look."""
        return Owner(self.path, self.look)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about one clip."""

    path: bytes
    fate: Fate
    why: str = ""
    """The reason, as a sentence without its full stop; may be empty."""
    look: str = OWN

    @property
    def called(self) -> bytes:
        """The clip and its look, for people."""
        return called(self.path, self.look)


@dataclass(slots=True)
class Plan:
    """All decisions."""

    verdicts: list[Verdict] = field(default_factory=list)
    """One for each look of a clip that is in inputs/ or has a result, by path and look."""
    results: list[tuple[int, Result]] = field(default_factory=list)
    """Results with the numbers of their jobs, oldest first."""
    promises: list[Promise] = field(default_factory=list)
    """Promises to keep. Their jobs keep their numbers, because the names of their private folders contain them."""
    bases: dict[bytes, bytes] = field(default_factory=dict)
    """The base of every clip that is in inputs/ or has a result."""

    def count(self, fate: Fate) -> int:
        """How many clips have this fate."""
        return sum(verdict.fate is fate for verdict in self.verdicts)


def plan(
    results: Sequence[Result],
    promises: Sequence[Promise],
    clips: Sequence[Clip],
    leftovers: Mapping[Owner, bytes],
    *,
    hold: bool,
) -> Plan:
    """Make the plan.

    Args:
        results: every usable manifest, oldest first.
        promises: every promise that can be kept.
        leftovers: clip and look to a result without a manifest that may be its own.
        hold: hold new and edited clips too.
    """
    results = _each_once(results)
    sealed = {_run(promise.result) for promise in promises}
    published = _numbered([result for result in results if _run(result) not in sealed], promises)
    highest = {result.key: number for number, result in published}
    # One with a number that is taken cannot be trusted.
    found = Plan(promises=[one for one in promises if one.result.job > highest.get(one.result.key, 0)])
    kept = {_run(promise.result) for promise in found.promises}
    results = [result for result in results if _run(result) not in kept]
    found.results = _numbered(results, found.promises)
    promised = {promise.result.key: promise.result for promise in found.promises}
    of_look: dict[Owner, list[Result]] = {}
    for result in results:
        of_look.setdefault(result.key, []).append(result)
    for clip in clips:
        found.bases[clip.path] = clip.base
        fate, why = _verdict(clip, of_look.get(clip.key, []), promised.get(clip.key), leftovers.get(clip.key))
        if hold and fate in {Fate.NEW, Fate.EDITED}:
            fate, why = Fate.HELD, why or "it has no result, and --hold was given"
        found.verdicts.append(Verdict(clip.path, fate, why, clip.look))
    there = {clip.key for clip in clips}
    for key in (of_look.keys() | promised.keys()) - there:
        found.verdicts.append(Verdict(key.clip, Fate.PUBLISH if key in promised else Fate.GONE, look=key.look))
    found.bases = _one_each(found.bases | bases_of(results, found.promises) | found.bases)
    found.verdicts.sort(key=lambda verdict: (verdict.path, verdict.look))
    return found


def bases_of(results: Iterable[Result], promises: Iterable[Promise]) -> dict[bytes, bytes]:
    """Each clip's base from its results; the newest result wins."""
    results = [*results, *(promise.result for promise in promises)]
    return _one_each({result.path: result.base for result in results})


def leftovers(pattern: str, bases: Mapping[Owner, bytes], strays: Iterable[bytes]) -> dict[Owner, bytes]:
    """Clip and look to a file that has the name of the look's result, in any version.

    Args:
        pattern: `publish.layout`.
        bases: clip and look to the clip's base.
        strays: files in outputs/ that no manifest describes.
    """
    by_name: dict[bytes, bytes] = {}
    for stray in strays:
        by_name.setdefault(_VERSION.sub(rb"\1\2", stray), stray)
    found = {}
    for key, base in bases.items():
        for kind in KINDS:
            name = layout.output(pattern, key.clip, base, kind_of(kind, key.look))
            if name in by_name:
                found[key] = by_name[name]
    return found


def _verdict(
    clip: Clip, results: Sequence[Result], promised: Result | None, leftover: bytes | None
) -> tuple[Fate, str]:
    """The decision about a look of a clip, and the reason."""
    if promised is not None:
        return Fate.PUBLISH, ""
    if clip.unreadable:
        return Fate.HELD, f"it cannot be compared with its result ({clip.unreadable})"
    same = [result for result in results if result.source_hash == clip.source_hash]
    if same and (not clip.has_spec or clip.spec_hash in {result.spec_hash for result in same}):
        return Fate.DONE, same[-1].problem
    if leftover is not None:
        return Fate.HELD, f"{layout.shown(leftover)} has no manifest, and may be its result"
    if not same:
        return Fate.NEW, ""
    why = "its JSON says something else than its result was made with"
    return Fate.EDITED, why if clip.spec_hash else "its JSON cannot be run as it stands"


def _run(result: Result) -> tuple[bytes, str]:
    return result.path, result.run_id


def _each_once(results: Sequence[Result]) -> list[Result]:
    """The results without copies; of two equal manifests, the one with its video counts."""
    found: dict[tuple[bytes, str, float], Result] = {}
    for result in results:
        key = (result.path, result.run_id, result.finished)
        if key not in found or (found[key].problem and not result.problem):
            found[key] = result
    return list(found.values())


def _numbered(results: Sequence[Result], promises: Sequence[Promise]) -> list[tuple[int, Result]]:
    """Each result with its job's number: its own, unless another journal has used it too.

    A clip's newest job must have its highest number.
    """
    taken = {promise.result.job for promise in promises}
    fresh = max([*taken, *(result.job for result in results)], default=0)
    newest: dict[Owner, int] = {}
    found = []
    for result in results:
        number = result.job
        if number in taken or number <= newest.get(result.key, 0):
            fresh += 1
            number = fresh
        taken.add(number)
        newest[result.key] = number
        found.append((number, result))
    return found


def _one_each(bases: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """The bases, one clip each within a folder; the last clip wins."""
    owner = {(layout.split(path)[0], base): path for path, base in bases.items()}
    return {path: base for path, base in bases.items() if owner[layout.split(path)[0], base] == path}
