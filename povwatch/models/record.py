"""Keeps models.json in the state folder: the files that were fetched and checked. Finds which files are here.

Both work without the network.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from povwatch.files.fs import fsync_dir
from povwatch.models import hub
from povwatch.models.fetch import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from povwatch.engines.needs import Need


NAME = "models.json"

VERSION = 1


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that was whole when it was looked at."""

    name: str
    size: int
    digest: str
    """As in hub.HubFile."""
    mtime_ns: int
    """Modification time of its bytes at that time. If it differs, the bytes have to be read again."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The files of a need at one commit."""

    repository: str
    revision: str
    asked: tuple[str, ...]
    """The need's files and patterns; empty for all."""
    cache: str
    commit: str
    files: tuple[Kept, ...]

    def fits(self, need: Need) -> bool:
        """Whether the snapshot is of this need and in the cache that is in use now."""
        return (self.repository, self.revision, self.asked, self.cache) == (
            need.repository,
            need.revision,
            asked(need),
            str(hub.cache_of(need)),
        )


def asked(need: Need) -> tuple[str, ...]:
    """The files and patterns that a need asks for."""
    return need.files + need.patterns


def find(snapshots: Iterable[Snapshot], need: Need) -> Snapshot | None:
    """The snapshot of a need; None if it was never whole here."""
    return next((snapshot for snapshot in snapshots if snapshot.fits(need)), None)


def load(state: Path) -> tuple[Snapshot, ...]:
    """Load the record. An unreadable file counts as empty: its content can be found out again."""
    try:
        found = json.loads((state / NAME).read_text("utf-8"))
        if found["version"] != VERSION:
            return ()
        return tuple(
            Snapshot(
                entry["repository"],
                entry["revision"],
                tuple(entry["asked"]),
                entry["cache"],
                entry["commit"],
                tuple(Kept(**kept) for kept in entry["files"]),
            )
            for entry in found["snapshots"]
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ()


def save(state: Path, snapshots: Iterable[Snapshot]) -> None:
    """Add snapshots to the record; the file is replaced atomically."""
    merged = {_key(snapshot): snapshot for snapshot in (*load(state), *snapshots)}
    text = json.dumps({"version": VERSION, "snapshots": [asdict(snapshot) for snapshot in merged.values()]}, indent=1)
    state.mkdir(parents=True, exist_ok=True)
    folder = os.open(state, os.O_RDONLY | os.O_DIRECTORY)
    try:
        temporary = state / f".{NAME}.{os.getpid()}"
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(state / NAME)
        fsync_dir(folder)
    finally:
        os.close(folder)


def _key(snapshot: Snapshot) -> tuple[object, ...]:
    return (snapshot.repository, snapshot.revision, snapshot.asked, snapshot.cache)


@dataclass(frozen=True, slots=True)
class Presence:
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


def presence(need: Need, snapshots: Iterable[Snapshot]) -> Presence:
    """Presence for the files of a need by name and size.

    Files that povwatch did not fetch are trusted if their names are known.
    """
    known = find(snapshots, need)
    if known is None:
        return _unknown(need)
    if hub.cached_commit(need) != known.commit:
        return Presence(need, tuple(kept.name for kept in known.files))
    folder = hub.snapshot_of(need, known.commit)
    lacking = tuple(kept.name for kept in known.files if _size(folder / kept.name) != kept.size)
    here = sum(kept.size for kept in known.files if kept.name not in lacking)
    return Presence(need, lacking, checked=True, size=here)


def changed_files(
    need: Need, snapshots: Iterable[Snapshot], report: Callable[[int], None] = lambda _: None
) -> tuple[str, ...] | None:
    """Read every file of a need; the names of those whose bytes changed. None if the need is not on record."""
    known = find(snapshots, need)
    if known is None:
        return None
    folder = hub.snapshot_of(need, known.commit)
    return tuple(kept.name for kept in known.files if not _same(folder / kept.name, kept, report))


def _same(path: Path, kept: Kept, report: Callable[[int], None]) -> bool:
    try:
        return digest_of(path, hub.HubFile(kept.name, kept.size, kept.digest), report) == kept.digest
    except OSError:
        return False


def _unknown(need: Need) -> Presence:
    commit = hub.cached_commit(need)
    folder = hub.snapshot_of(need, commit)
    if not commit or not folder.is_dir():
        return Presence(need, need.files or need.patterns or ("*",))
    missing = tuple(name for name in need.files if _size(folder / name) is None)
    if not need.files and not any(path.is_file() for path in folder.rglob("*")):
        missing = need.files or need.patterns or ("*",)
    return Presence(need, missing, size=sum(_size(path) or 0 for path in folder.rglob("*") if path.is_file()))


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
