"""Which clip somebody means. Pure."""

from __future__ import annotations

import difflib
from itertools import islice
from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.command import choice, command

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence


NUMBER_DIGITS = 18
"""A job's number has fewer, and SQLite's integers hold them all."""

NEAR = 0.7
"""How much of a name has to be as it was typed, for it to be what somebody meant."""

NEAR_CLIPS = 1000
"""Clips that are compared with what was typed, the last ones: a daemon that answers has other things to do."""

NEAR_LENGTH = 100
"""Characters up to which names are compared: it takes the square of them."""


def number_of(word: str) -> int | None:
    """The job's number that a word may mean: `12` or `#12`. A clip of that name goes first, unless it has the mark."""
    digits = word.removeprefix("#")
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= NUMBER_DIGITS else None


def find(paths: Collection[bytes], word: str) -> list[bytes]:
    """The clips that a word may mean: a path, a file name, or either without its suffix.

    The first way of reading it that fits anything counts; several clips may fit that one.

    Args:
        paths: clips, relative to inputs/.
        word: as typed, or as it is shown (`layout.shown`); `inputs/` in front allowed.
    """
    if not word or (word.startswith("#") and number_of(word) is not None):
        return []
    try:
        wanted = word.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, which no file name holds
        return []
    below = wanted.removeprefix(b"./").removeprefix(b"inputs/")
    ways: list[Callable[[bytes], bool]] = [
        lambda path: path == wanted,
        lambda path: path == below,
        lambda path: layout.split(path)[1] == wanted,
        lambda path: layout.stem_of(path) in {wanted, below},
        lambda path: layout.stem_of(layout.split(path)[1]) == wanted,
    ]
    if "\\" in word:  # what cannot be printed is shown escaped; without a backslash nothing is
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


def nearest(paths: Collection[bytes], word: str) -> bytes | None:
    """The clip that somebody may have meant with a word that means none; None if none is called nearly so.

    Args:
        paths: clips, relative to inputs/.
        word: as typed.
    """
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
    """What to do where a word means no clip. See `nearest`."""
    near = nearest(paths, word)
    meant = f"Did you mean {layout.shown(near)}? " if near is not None else ""
    return f"{meant}All that were seen: {command('jobs')}"


def unanswerable(verb: str, options: Iterable[str], word: str, found: Sequence[bytes], paths: Collection[bytes]) -> str:
    """Why what is asked of one clip is asked of none: the word means none, or several; empty where it means one.

    Args:
        verb: such as "go".
        options: that were given with it.
        word: as typed.
        found: the clips that it may mean.
        paths: all of them.
    """
    if not found:
        return f"no clip here is called so. {instead(paths, word)}"
    if len(found) > 1:
        return f"{len(found)} clips are called so. Take one: {choice(verb, *options, clips=found)}"
    return ""
