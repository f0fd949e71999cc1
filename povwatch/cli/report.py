"""povwatch report: what was done, how long it took, what failed and what to do; `povwatch run --once` ends with it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from povwatch.cli.app import console, plain, shared, verbs
from povwatch.core.errors import ConfigError, PovwatchError
from povwatch.core.units import parse_duration
from povwatch.ops.report import save
from povwatch.ops.report.gather import gather
from povwatch.ops.report.table import table
from povwatch.service.log import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from povwatch.ops.report.data import Report


Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--report", "--output", "-o", metavar="FILE", help="Also as a file: .html, .md, .json or .csv; may be repeated."
    ),
]


@verbs.command()
def report(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option(metavar="D", help="Only what ended in the last 12h, 1d and so on.")
    ] = None,
    files: Files = None,
) -> None:
    """Tell what was done: times, GPU seconds, memory, failures and what to do."""
    save.check(files or ())
    now = time.time()
    with shared(context).reader() as reader:
        found = gather(reader, now, since=_since(since, now))
    print_table(found)
    if not save_all(found, files or ()):
        raise typer.Exit(1)


def _since(text: str | None, now: float) -> float | None:
    try:
        return None if text is None else now - parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--since: {error}.") from error


def print_table(report: Report, screen: Console | None = None) -> None:
    """Print the report, on standard output if no screen is given."""
    (screen or console).print(table(report), soft_wrap=True)  # unbroken, so that its contents can be pasted


def save_all(report: Report, files: Iterable[Path]) -> bool:
    """Write all files, even if one fails; False if one failed."""
    good = True
    for file in files:
        try:
            save.save(report, file)
        except PovwatchError as error:
            sys.stderr.write(f"povwatch: {one_line(str(error))}\n")
            good = False
        else:
            console.print(plain(f"The report is in {file}"), soft_wrap=True)
    return good
