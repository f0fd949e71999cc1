"""Finds the clip that somebody means. Pure."""

from __future__ import annotations

import difflib
from itertools import islice
from typing import TYPE_CHECKING

from povwatch.core import layout, looks
from povwatch.core.command import choice, command

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence


NUMBER_DIGITS = 18
"""A job's number has at most so many digits; SQLite's integers hold them all."""

NEAR = 0.7
"""How similar a name has to be to the typed word to be suggested, 0 to 1 (difflib)."""

NEAR_CLIPS = 1000
"""Only the last so many clips are compared with a word, to keep a daemon that answers quick."""

NEAR_LENGTH = 100
"""Longer names are not compared: the time grows with the square of their length, in characters."""


def number_of(word: str) -> int | None:
    """The job's number that a word may mean: `12` or `#12`. A clip named `12` goes first; `#12` is always a number."""
    digits = word.removeprefix("#")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= NUMBER_DIGITS else None


def find(paths: Collection[bytes], word: str) -> list[bytes]:
    """The clips that a word may mean: a path, a file name, or either without its suffix.

    The ways to read the word are tried in turn. The first that fits any clip counts, and several clips may fit it.

    Args:
        paths: relative to inputs/.
        word: as typed, or as shown by `layout.shown`; it may begin with `inputs/`.
    """
    if not word or (word.startswith("#") and number_of(word) is not None):
        return []
    try:
        wanted = word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that no file name holds
        return []
    below = wanted.removeprefix(b"./").removeprefix(b"inputs/")
    ways: list[Callable[[bytes], bool]] = [
        lambda path: path == wanted,
        lambda path: path == below,
        lambda path: layout.split(path)[1] == wanted,
        lambda path: layout.stem_of(path) in {wanted, below},
        lambda path: layout.stem_of(layout.split(path)[1]) == wanted,
    ]
    if "\\" in word:  # an unprintable name is shown with backslash escapes
        names = {word, word.removeprefix("./").removeprefix("inputs/")}
        ways[2:2] = [lambda path: layout.shown(path) in names]
        ways += [
            lambda path: layout.shown(layout.split(path)[1]) == word,
            lambda path: layout.shown(layout.stem_of(path)) in names,
            lambda path: layout.shown(layout.stem_of(layout.split(path)[1])) == word,
        ]
    for fits in ways:
        if found := [path for path in paths if fits(path)]:
            return found
    return []


def meant(paths: Collection[bytes], word: str) -> tuple[list[bytes], str | None]:
    """The clips that a word may mean, and the look that it names after them: `clip@night`.

    The look is None if the word names none, and means all looks of the clip. `clip@` means the clip's own look alone.
    """
    if (found := find(paths, word)) or (parts := looks.cut(word)) is None:
        return found, None
    clip, look = parts
    found = find(paths, clip)
    return found, look if found else None


def no_such_look(clip: bytes, look: str, others: Iterable[str]) -> str:
    """Why a clip's look cannot be found, as sentences. `others` are the further looks that the clip has."""
    have = ", ".join(sorted(others))
    return f'{layout.shown(clip)} has no look "{look}". {f"It has: {have}." if have else "It has its own look alone."}'


def nearest(paths: Collection[bytes], word: str) -> bytes | None:
    """The clip whose name is most similar to a word that means none; None if no name is similar."""
    typed = word.removeprefix("./").removeprefix("inputs/").casefold()
    if len(typed) > NEAR_LENGTH:
        return None
    names: dict[str, bytes] = {}
    for path in islice(paths, max(0, len(paths) - NEAR_CLIPS), None):
        of = path if "/" in typed else layout.split(path)[1]
        names |= dict.fromkeys((layout.shown(of).casefold(), layout.shown(layout.stem_of(of)).casefold()), path)
    short = [name for name in names if len(name) <= NEAR_LENGTH]
    found = difflib.get_close_matches(typed, short, n=1, cutoff=NEAR)
    return names[found[0]] if found else None


def instead(paths: Collection[bytes], word: str) -> str:
    """What to do if a word means no clip. See `nearest`."""
    near = nearest(paths, word)
    meant = f"Did you mean {layout.shown(near)}? " if near is not None else ""
    return f"{meant}All that were seen: {command('jobs')}"


def unanswerable(verb: str, options: Iterable[str], word: str, found: Sequence[bytes], paths: Collection[bytes]) -> str:
    """Why a request for one clip cannot be answered: the word means no clip, or several. Empty if it means one."""
    if not found:
        return f"no clip here is called so. {instead(paths, word)}"
    if len(found) > 1:
        return f"{len(found)} clips are called so. Take one: {choice(verb, *options, clips=found)}"
    return ""
