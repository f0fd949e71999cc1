"""Which clip somebody means. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection


def find(paths: Collection[bytes], word: str) -> list[bytes]:
    """The clips that a word may mean: a path, a file name, or either without its suffix.

    The first way of reading it that fits anything counts; several clips may fit that one.

    Args:
        paths: clips, relative to inputs/.
        word: as typed, `inputs/` in front allowed.
    """
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
