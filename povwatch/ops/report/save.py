"""Saves a report in a file. The suffix decides the format.

`check` tells before any work whether the file can be written.
"""

from __future__ import annotations

import os
import secrets
import stat
from typing import TYPE_CHECKING

from povwatch.core.command import command
from povwatch.core.errors import ConfigError, NotWritten
from povwatch.core.machine_faults import Place, translated
from povwatch.core.sentences import joined
from povwatch.ops.report.markdown import as_markdown
from povwatch.ops.report.plain import as_csv, as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from povwatch.ops.report.data import Report


def _html(report: Report) -> str:
    from povwatch.ops.report.page import as_html  # noqa: PLC0415 - the template engine is for this form alone

    return as_html(report)


FORMS: dict[str, Callable[[Report], str]] = {
    ".html": _html,
    ".htm": _html,
    ".md": as_markdown,
    ".json": as_json,
    ".csv": as_csv,
}


def check(files: Iterable[Path]) -> None:
    """Check that the reports can be written.

    Raises:
        ConfigError: names the first that cannot.
    """
    for file in files:
        if file.suffix.lower() not in FORMS:
            raise ConfigError(f"--report {file}: what form is that?", f"Let its name end in {', '.join(FORMS)}.")
        try:
            _see(file)
        except OSError as error:
            raise ConfigError(
                f"--report {file} cannot be written: {error.strerror}.",
                "Name a file in a folder that you may write in.",
            ) from error


def save(report: Report, file: Path) -> None:
    """Write a report atomically, and replace an earlier one.

    Raises:
        NotWritten: it cannot be written.
    """
    try:
        target = file.resolve()
        part = target.with_name(f".povwatch-{secrets.token_hex(8)}")
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace", newline="") as opened:
                opened.write(FORMS[file.suffix.lower()](report))
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        found = translated(error, Place.REPORT, str(file))
        again = f"The journal has it all: {command('report', '--report', str(file))}"
        raise NotWritten(found.what, joined(found.todo, again)) from error


def _see(file: Path) -> None:
    """Do what `save` does, except for the last step.

    Raises:
        OSError: says why it fails.
    """
    target = file.resolve()
    if target.exists() and not stat.S_ISREG(target.stat().st_mode):
        raise OSError(0, "there is something else of that name, no plain file")
    part = target.with_name(f".povwatch-{secrets.token_hex(8)}")
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))
    part.unlink()
