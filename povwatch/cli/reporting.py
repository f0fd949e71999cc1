"""A report at the end of a command: on the terminal, and in files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from povwatch.cli.app import console, plain
from povwatch.core.errors import PovwatchError
from povwatch.ops.report.save import save
from povwatch.ops.report.table import table
from povwatch.service.log import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import Console

    from povwatch.ops.report.data import Report


def print_table(report: Report, screen: Console | None = None) -> None:
    """Show it on standard output, or on another screen."""
    (screen or console).print(table(report), soft_wrap=True)  # what is in it can be pasted


def save_all(report: Report, files: Iterable[Path]) -> bool:
    """Write the files, each of them whatever becomes of the others; False if one could not be written."""
    good = True
    for file in files:
        try:
            save(report, file)
        except PovwatchError as error:
            sys.stderr.write(f"povwatch: {one_line(str(error))}\n")
            good = False
        else:
            console.print(plain(f"The report is in {file}"), soft_wrap=True)
    return good
