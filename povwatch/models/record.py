"""Keeps models.json in the state folder: the files that were fetched and checked, for machines without a network."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from povwatch.files.fs import fsync_dir
from povwatch.models import hub

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from povwatch.models.needs import Need

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
