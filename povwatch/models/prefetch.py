"""Lists an engine's files, compares their size with the disk, fetches, checks and records them, and shows all that."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from povwatch.core.command import command
from povwatch.core.sentences import joined
from povwatch.core.units import spell_size
from povwatch.models import hub, record
from povwatch.models.errors import AccessError, ContentError, NetworkError, RoomError
from povwatch.models.fetch import blob_of, digest_of, fetch, size_here
from povwatch.models.missing import SHOWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.console import Console

    from povwatch.core.errors import PovwatchError
    from povwatch.engines.needs import Need
    from povwatch.models.hub import HubFile, Listing
    from povwatch.models.record import Snapshot


SHORT_COMMIT = 12

AT_ONCE = 4
"""Files fetched at the same time; one connection rarely fills a fast line."""

SPARE = 100_000_000
"""Bytes that must stay free after the download."""


def fetch_all(console: Console, kind: str, wanted: Sequence[Need], state: Path, *, verify: bool) -> list[str]:
    """Fetch and check the files of the engine `kind`.

    Without a network, the files that are here are checked. That is enough if all are here.

    Args:
        state: the folder of models.json.
        verify: read also files that have not changed since they were checked.

    Returns:
        What is missing after that, a line each.

    Raises:
        NetworkError: the hub cannot be reached, and something is missing.
        RoomError: the disk is too small.
    """
    try:
        found = plan(wanted)
    except NetworkError as failure:
        if not _all_here(wanted, state):
            raise
        console.print(escape(joined(failure.what, "All was fetched before; it is looked at instead.")), soft_wrap=True)
        return check(console, kind, wanted, state, verify=verify)
    _print_plan(console, kind, found)
    for refusal in found.refused:
        console.print(f"[yellow]licence[/yellow]  {escape(str(refusal))}", soft_wrap=True)
    check_disk_space(found)
    with Bars(console, found) as bars:
        problems = download(found, state, bars, again=verify)
    return [str(problem) for problem in problems]


def check(console: Console, kind: str, wanted: Sequence[Need], state: Path, *, verify: bool) -> list[str]:
    """Check the files that are here, without the network; see `fetch_all`."""
    snapshots = record.load(state)
    problems: list[str] = []
    for need in wanted:
        seen = record.presence(need, snapshots)
        bad = (record.changed_files(need, snapshots) or ()) if verify and seen.there else ()
        if not seen.there or bad:
            names = [name for name in seen.missing or bad if "*" not in name]
            which = _some(names) if names else "all of it"
            problems.append(f"{need.repository}: {which} ({need.why}). {_todo(kind, need)}")
        elif seen.checked:
            console.print(f"[green]ok[/green]  {need.repository}: {need.why}, {spell_size(seen.size)}", soft_wrap=True)
        else:
            problems.append(f"{need.repository}: is here, but was never checked ({need.why}). {_todo(kind, need)}")
    return problems


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
        return sum(max(file.size - size_here(listing, file), 0) for listing, file in self.blobs().values())

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


def check_disk_space(found: Plan) -> None:
    """Check that the disk has space for everything.

    Raises:
        RoomError: the disk of a cache has less free space than its files need.
    """
    wanted: dict[int, int] = {}
    places: dict[int, Path] = {}
    for listing, file in found.blobs().values():
        place = hub.existing(hub.cache_of(listing.need))
        device = place.stat().st_dev
        places.setdefault(device, place)
        wanted[device] = wanted.get(device, 0) + max(file.size - size_here(listing, file), 0)
    for device, size in wanted.items():
        free = shutil.disk_usage(places[device]).free
        if size and size + SPARE > free:
            raise RoomError(
                f"{spell_size(size)} are still to be fetched, and {places[device]} has {spell_size(free)} free.",
                "Make room, or set HF_HOME to a larger disk, here and for the service.",
            )


def download(found: Plan, state: Path, bars: Bars, *, again: bool = False) -> list[PovwatchError]:
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
            pool.submit(_fetch_or_check, listing, file, _trusted(before, listing), bars, stop): blob
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


def _fetch_or_check(
    listing: Listing, file: HubFile, trusted: dict[str, int], bars: Bars, stop: threading.Event
) -> None:
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


def _all_here(wanted: Sequence[Need], state: Path) -> bool:
    snapshots = record.load(state)
    return all((seen := record.presence(need, snapshots)).there and seen.checked for need in wanted)


def _todo(kind: str, need: Need) -> str:
    licence = f" Its licence is accepted at {need.licence}." if need.licence else ""
    return f"Run {command('prefetch', '--engine', kind)}.{licence}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _print_plan(console: Console, kind: str, found: Plan) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("repository", "at", "what"):
        table.add_column(title)
    for title in ("files", "size"):
        table.add_column(title, justify="right")
    for listing in found.listings:
        size = spell_size(sum(file.size for file in listing.files))
        commit = listing.commit[:SHORT_COMMIT]
        table.add_row(listing.need.repository, commit, listing.need.why, str(len(listing.files)), size)
    console.print(table)
    console.print(f"The {kind} engine: {spell_size(found.size)}, of which {spell_size(found.lacking)} to fetch.")


class Bars:
    """One bar for everything, and one for each file under way; nothing if the output is no terminal. For any thread."""

    def __init__(self, console: Console, found: Plan) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._all = self._progress.add_task("all", total=found.size)
        self._files = {
            file.digest: self._progress.add_task(file.name.rpartition("/")[2], total=file.size, visible=False)
            for _, file in found.blobs().values()
        }

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, file: HubFile) -> None:
        """A file's download or check begins."""
        self._progress.update(self._files[file.digest], visible=True)

    def advance(self, file: HubFile, count: int) -> None:
        """`count` more bytes of the file are here and read."""
        self._progress.update(self._files[file.digest], advance=count)
        self._progress.update(self._all, advance=count)

    def end(self, file: HubFile) -> None:
        """The file is done, successfully or not."""
        self._progress.update(self._files[file.digest], visible=False)
