"""Lists an engine's files, compares their size with the disk, fetches, checks and records them."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from povwatch.core.command import command
from povwatch.core.units import spell_size
from povwatch.models import hub, record
from povwatch.models.errors import AccessError, ContentError, RoomError
from povwatch.models.fetch import blob_of, digest_of, fetch, here_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from povwatch.core.errors import PovwatchError
    from povwatch.models.hub import HubFile, Listing
    from povwatch.models.needs import Need
    from povwatch.models.record import Snapshot

AT_ONCE = 4
"""Files fetched at the same time; one connection rarely fills a fast line."""

SPARE = 100_000_000
"""Bytes that must stay free after the download."""


class Bars(Protocol):
    """Shows the progress. Called from several threads."""

    def begin(self, file: HubFile) -> None:
        """A file's download or check begins."""

    def advance(self, file: HubFile, count: int) -> None:
        """`count` more bytes of the file are here and read."""

    def end(self, file: HubFile) -> None:
        """The file is done, successfully or not."""


@dataclass(slots=True)
class Plan:
    """The hub's listings for our needs."""

    listings: list[Listing] = field(default_factory=list)
    refused: list[AccessError] = field(default_factory=list)
    """One error for each repository that does not give us its files."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for _, file in self.blobs().values())

    @property
    def lacking(self) -> int:
        """Bytes that are still to be fetched."""
        return sum(max(file.size - here_of(listing, file), 0) for listing, file in self.blobs().values())

    def blobs(self) -> dict[Path, tuple[Listing, HubFile]]:
        """Path of the bytes to their file: two files with the same bytes share one."""
        return {blob_of(listing, file): (listing, file) for listing in self.listings for file in listing.files}


def plan(needs: Iterable[Need]) -> Plan:
    """Ask the hub for the listings. A repository that refuses us does not keep the others from being listed.

    Raises:
        NetworkError: the hub cannot be asked.
    """
    found = Plan()
    asked: dict[str, AccessError | None] = {}
    for need in needs:
        if need.repository not in asked:
            asked[need.repository] = None
            try:
                hub.check_access(need.repository)
            except AccessError as error:
                asked[need.repository] = error
                found.refused.append(error)
        if asked[need.repository] is None:
            try:
                found.listings.append(hub.listing(need))
            except AccessError as error:
                found.refused.append(error)
    return found


def check_room(found: Plan) -> None:
    """Check that the disk has room for everything.

    Raises:
        RoomError: the disk of a cache has less free space than its files need.
    """
    wanted: dict[int, int] = {}
    places: dict[int, Path] = {}
    for listing, file in found.blobs().values():
        place = hub.existing(hub.cache_of(listing.need))
        device = place.stat().st_dev
        places.setdefault(device, place)
        wanted[device] = wanted.get(device, 0) + max(file.size - here_of(listing, file), 0)
    for device, size in wanted.items():
        free = shutil.disk_usage(places[device]).free
        if size and size + SPARE > free:
            raise RoomError(
                f"{spell_size(size)} are still to be fetched, and {places[device]} has {spell_size(free)} free.",
                "Make room, or set HF_HOME to a larger disk, here and for the service.",
            )


def bring(found: Plan, state: Path, bars: Bars, *, again: bool = False) -> list[PovwatchError]:
    """Fetch and check everything. A need that is whole gets its names in the cache and is put on record.

    Args:
        state: the folder of models.json.
        again: read also files that were whole the last time and have not changed since.

    Returns:
        What is still missing, a line each; empty if all is here.

    Raises:
        NetworkError: the hub cannot be reached any more; what is here is kept.
        RoomError: the disk is full; what is here is kept.
    """
    before = () if again else record.load(state)
    failed: dict[Path, PovwatchError] = {}
    stop = threading.Event()
    with ThreadPoolExecutor(AT_ONCE, "fetch") as pool:
        blobs = found.blobs()
        running = {
            pool.submit(_one, listing, file, _trusted(before, listing), bars, stop): blob
            for blob, (listing, file) in blobs.items()
        }
        try:
            for done in as_completed(running):
                try:
                    done.result()
                except (AccessError, ContentError) as error:
                    failed[running[done]] = error
        except BaseException:  # also at Ctrl-C, since the threads would go on for hours
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    problems = [*failed.values()]
    for listing in found.listings:
        if not any(blob_of(listing, file) in failed for file in listing.files):
            try:
                record.save(state, [_linked(listing)])
            except ContentError as error:
                problems.append(error)
    return [*found.refused, *problems]


def _one(listing: Listing, file: HubFile, trusted: dict[str, int], bars: Bars, stop: threading.Event) -> None:
    bars.begin(file)
    try:
        blob = blob_of(listing, file)
        if blob.exists():
            if trusted.get(file.digest) == blob.stat().st_mtime_ns and blob.stat().st_size == file.size:
                bars.advance(file, file.size)
                return
            if digest_of(blob, file, lambda count: bars.advance(file, count)) == file.digest:
                return
            bars.advance(file, -blob.stat().st_size)
            blob.unlink()  # its bytes do not match the digest in its name, so nobody can use it
        fetch(listing, file, lambda count: bars.advance(file, count), stop.is_set)
    finally:
        bars.end(file)


def _trusted(before: Iterable[Snapshot], listing: Listing) -> dict[str, int]:
    """Digest to modification time of the files that were whole the last time."""
    known = record.find(before, listing.need)
    return {kept.digest: kept.mtime_ns for kept in known.files} if known else {}


def _linked(listing: Listing) -> Snapshot:
    folder = hub.link(listing)
    need = listing.need
    if folder.name != listing.commit or not all((folder / file.name).is_file() for file in listing.files):
        raise ContentError(
            f"{need.repository} at {need.revision} was changed while it was fetched.",
            f"Run {command('prefetch')} again.",
        )
    kept = tuple(
        record.Kept(file.name, file.size, file.digest, (folder / file.name).stat().st_mtime_ns)
        for file in listing.files
    )
    return record.Snapshot(
        need.repository, need.revision, record.asked(need), str(hub.cache_of(need)), listing.commit, kept
    )
