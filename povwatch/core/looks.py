"""Which JSON in inputs/ belongs to which clip, and to which of its looks. Pure.

A look is one more job of a clip, with a JSON of its own: `clip.night.json` is the look `night` of `clip.mp4`. The
clip's own JSON, `clip.json`, is the look with the empty name.

The rule for `N.json`:

1. A clip whose base is N owns it, as its own JSON: `clip.night.mp4` keeps `clip.night.json`.
2. Otherwise N is cut at its last dot into B and L. A clip whose base is B owns it, as its look L, unless clips end in
   .L: `clip.mov.json` is what a clip that is gone has left.
3. Otherwise nobody owns it.

The markers and the error file have the names of the JSON: `clip.night.go`, `clip.night.hold`, `clip.night.error.txt`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from povwatch.core import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

OWN = ""
"""The look of a clip's own JSON."""

JSON = b".json"

LOOK_MAX = 64
"""Bytes in the name of a look."""

RESERVED = frozenset({"aug", "preview", "error", "control", "sheet", "go", "hold", "json"})
"""Names that files beside a clip or its result have already, in lower case."""

CONFLICT = "sync-conflict-"
"""The beginning of the look that Syncthing's copy of a clip's JSON would be: `clip.sync-conflict-...json`."""

_NAME = re.compile(r"[\w-]+")

_AT = "@"
"""Between a clip and its look on the command line and in the log: `clip.mp4@night`."""


class Owner(NamedTuple):
    """The clip and the look that a JSON belongs to."""

    clip: bytes
    look: str


def owner(
    spec: bytes, clip_of: Callable[[bytes, bytes], bytes | None], *, suffixes: Collection[bytes] = ()
) -> Owner | None:
    """The owner of a JSON, by the rule above; None if nobody owns it.

    Args:
        spec: the JSON's path, relative to inputs/.
        clip_of: folder and base to the clip that has the base, if one has.
        suffixes: those of clips, in lower case with their dots: `b".mp4"`.
    """
    folder, name = layout.split(spec)
    whole = name.removesuffix(JSON)
    if (clip := clip_of(folder, whole)) is not None:
        return Owner(clip, OWN)
    base, dot, tail = whole.rpartition(b".")
    if not dot or not base or dot + tail.lower() in suffixes or (look := _text(tail)) is None:
        return None
    clip = clip_of(folder, base)
    return None if clip is None else Owner(clip, look)


def may_be_look(spec: bytes) -> bool:
    """Whether a JSON's name has the dot of a look. Fast, for the hundred thousand JSONs of a scan."""
    end = len(spec) - len(JSON)
    return spec.rfind(b".", spec.rfind(b"/") + 2, end) > 0


def refusal(look: str, base: bytes, *, others: Collection[str] = ()) -> str:
    """Why a look cannot have its name, as a sentence; empty if it can.

    Args:
        base: what the clip's files are called.
        others: the clip's other looks.
    """
    lower = look.lower()
    if not _NAME.fullmatch(look):
        return f'"{look}" is no name for a look: it may have letters, digits, "_" and "-" alone.'
    if lower in RESERVED:
        return f'"{look}" is no name for a look: files of povwatch are called so.'
    if len(look.encode()) > LOOK_MAX or len(stem(base, look)) + layout.SUFFIX_MAX > layout.NAME_MAX:
        most = min(LOOK_MAX, layout.NAME_MAX - layout.SUFFIX_MAX - len(base) - 1)
        return f"The name of the look is too long: beside this clip it may have {max(most, 0)} bytes."
    if twin := next((other for other in others if other != look and other.casefold() == look.casefold()), ""):
        return (
            f'"{look}" and the look "{twin}" differ in upper and lower case alone, which some disks do not tell apart.'
        )
    return ""


def stem(base: bytes, look: str) -> bytes:
    """The name that the files of a look share in inputs/: `clip.night`."""
    return base + b"." + look.encode() if look else base


def kind_of(kind: str, look: str) -> str:
    """The kind of a result, as its name has it: `aug`, or `night_aug` for a look."""
    return f"{look}_{kind}" if look else kind


def label_of(base: bytes, look: str) -> bytes:
    """The `name` in the JSON of a look: `clip_night`. It names the result if upstream's command line runs the JSON."""
    return base + b"_" + look.encode() if look else base


def called(clip: bytes, look: str) -> bytes:
    """A clip and its look for people: `clip.mp4@night`."""
    return clip + (_AT + look).encode() if look else clip


def cut(word: str) -> tuple[str, str] | None:
    """A typed `clip@night` as clip and look; None if there is no look in it. `clip@` is the clip's own JSON alone."""
    clip, at, look = word.rpartition(_AT)
    return (clip, look) if at and clip else None


def _text(tail: bytes) -> str | None:
    """The name of a look as text; None if it cannot be one."""
    try:
        look = tail.decode()
    except UnicodeDecodeError:
        return None
    return None if not look or look.startswith(CONFLICT) else look
