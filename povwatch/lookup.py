"""Which clip somebody means. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


NUMBER_DIGITS = 18
"""A job's number has fewer, and SQLite's integers hold them all."""


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
