"""povwatch report: what was done, how long it took, what failed and what to do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from povwatch.cli.app import app, shared
from povwatch.cli.reporting import print_table, save_all
from povwatch.core.errors import ConfigError
from povwatch.core.units import parse_duration
from povwatch.ops.report import save
from povwatch.ops.report.gather import gather

Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--report", "--output", "-o", metavar="FILE", help="Also as a file: .html, .md, .json or .csv; may be repeated."
    ),
]


@app.command()
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
