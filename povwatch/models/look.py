"""Finds which model files are here, without the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from povwatch.models import hub, record
from povwatch.models.fetch import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from povwatch.models.needs import Need
    from povwatch.models.record import Kept, Snapshot


@dataclass(frozen=True, slots=True)
class Look:
    """What was found of one need."""

    need: Need
    missing: tuple[str, ...] = ()
    """Names of files that are missing or not whole; patterns (or `*`) if no name is known."""
    checked: bool = False
    """Whether every file is known by name, size and digest, from models.json."""
    size: int = 0
    """Bytes of what is here."""

    @property
    def there(self) -> bool:
        """Whether nothing is known to be missing."""
        return not self.missing


def look(need: Need, snapshots: Iterable[Snapshot]) -> Look:
    """Look for the files of a need by name and size.

    Files that povwatch did not fetch are trusted if their names are known.
    """
    known = record.find(snapshots, need)
    if known is None:
        return _unknown(need)
    if hub.cached_commit(need) != known.commit:
        return Look(need, tuple(kept.name for kept in known.files))
    folder = hub.snapshot_of(need, known.commit)
    lacking = tuple(kept.name for kept in known.files if _size(folder / kept.name) != kept.size)
    here = sum(kept.size for kept in known.files if kept.name not in lacking)
    return Look(need, lacking, checked=True, size=here)


def spoilt(
    need: Need, snapshots: Iterable[Snapshot], told: Callable[[int], None] = lambda _: None
) -> tuple[str, ...] | None:
    """Read every file of a need; the names of those whose bytes changed. None if the need is not on record."""
    known = record.find(snapshots, need)
    if known is None:
        return None
    folder = hub.snapshot_of(need, known.commit)
    return tuple(kept.name for kept in known.files if not _same(folder / kept.name, kept, told))


def _same(path: Path, kept: Kept, told: Callable[[int], None]) -> bool:
    try:
        return digest_of(path, hub.HubFile(kept.name, kept.size, kept.digest), told) == kept.digest
    except OSError:
        return False


def _unknown(need: Need) -> Look:
    commit = hub.cached_commit(need)
    folder = hub.snapshot_of(need, commit)
    if not commit or not folder.is_dir():
        return Look(need, need.files or need.patterns or ("*",))
    missing = tuple(name for name in need.files if _size(folder / name) is None)
    if not need.files and not any(path.is_file() for path in folder.rglob("*")):
        missing = need.files or need.patterns or ("*",)
    return Look(need, missing, size=sum(_size(path) or 0 for path in folder.rglob("*") if path.is_file()))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
