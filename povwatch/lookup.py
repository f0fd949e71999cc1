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
        word: as typed, `inputs/` in front allowed.
    """
    if not word or (word.startswith("#") and number_of(word) is not None):
        return []
    wanted = word.encode("utf-8", "surrogateescape")
    ways: tuple[Callable[[bytes], bool], ...] = (
        lambda path: path in {wanted, wanted.removeprefix(b"./").removeprefix(b"inputs/")},
        lambda path: layout.shown(path) == word,
        lambda path: layout.split(path)[1] == wanted,
        lambda path: layout.stem_of(path) == wanted,
        lambda path: layout.stem_of(layout.split(path)[1]) == wanted,
    )
    for fits in ways:
        if found := [path for path in paths if fits(path)]:
            return found
    return []
