"""Shows a prefetch on the terminal: the list, the bars, one line for each need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from povwatch.core.command import command
from povwatch.core.sentences import joined
from povwatch.core.units import spell_size
from povwatch.models import prefetch, record
from povwatch.models.errors import NetworkError
from povwatch.models.lacking import SHOWN
from povwatch.models.look import look, spoilt

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import Console

    from povwatch.models.hub import HubFile
    from povwatch.models.needs import Need
    from povwatch.models.prefetch import Plan

SHORT_COMMIT = 12


def bring(console: Console, kind: str, wanted: Sequence[Need], state: Path, *, verify: bool) -> list[str]:
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
        found = prefetch.plan(wanted)
    except NetworkError as failure:
        if not _all_here(wanted, state):
            raise
        console.print(escape(joined(failure.what, "All was fetched before; it is looked at instead.")), soft_wrap=True)
        return check(console, kind, wanted, state, verify=verify)
    _tell(console, kind, found)
    for refusal in found.refused:
        console.print(f"[yellow]licence[/yellow]  {escape(str(refusal))}", soft_wrap=True)
    prefetch.check_room(found)
    with _Bars(console, found) as bars:
        problems = prefetch.bring(found, state, bars, again=verify)
    return [str(problem) for problem in problems]


def check(console: Console, kind: str, wanted: Sequence[Need], state: Path, *, verify: bool) -> list[str]:
    """Check the files that are here, without the network; see `bring`."""
    snapshots = record.load(state)
    problems: list[str] = []
    for need in wanted:
        seen = look(need, snapshots)
        bad = (spoilt(need, snapshots) or ()) if verify and seen.there else ()
        if not seen.there or bad:
            names = [name for name in seen.missing or bad if "*" not in name]
            which = _some(names) if names else "all of it"
            problems.append(f"{need.repository}: {which} ({need.why}). {_todo(kind, need)}")
        elif seen.checked:
            console.print(f"[green]ok[/green]  {need.repository}: {need.why}, {spell_size(seen.size)}", soft_wrap=True)
        else:
            problems.append(f"{need.repository}: is here, but was never checked ({need.why}). {_todo(kind, need)}")
    return problems


def _all_here(wanted: Sequence[Need], state: Path) -> bool:
    snapshots = record.load(state)
    return all((seen := look(need, snapshots)).there and seen.checked for need in wanted)


def _todo(kind: str, need: Need) -> str:
    licence = f" Its licence is accepted at {need.licence}." if need.licence else ""
    return f"Run {command('prefetch', '--engine', kind)}.{licence}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _tell(console: Console, kind: str, found: Plan) -> None:
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


class _Bars:
    """One bar for everything, and one for each file under way; nothing if the output is no terminal."""

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
        self._progress.update(self._files[file.digest], visible=True)

    def advance(self, file: HubFile, count: int) -> None:
        self._progress.update(self._files[file.digest], advance=count)
        self._progress.update(self._all, advance=count)

    def end(self, file: HubFile) -> None:
        self._progress.update(self._files[file.digest], visible=False)
