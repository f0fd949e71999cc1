"""Prints and saves the report at the end of a command."""

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
    """Print the report, on standard output if no screen is given."""
    (screen or console).print(table(report), soft_wrap=True)  # unbroken, so that its contents can be pasted


def save_all(report: Report, files: Iterable[Path]) -> bool:
    """Write all files, even if one fails; False if one failed."""
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
