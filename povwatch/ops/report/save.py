"""Saves a report in a file: HTML, Markdown, JSON or CSV, by the file's suffix.

`check` tells before any work whether the file can be written.
"""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
import stat
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from povwatch.core.command import command
from povwatch.core.errors import ConfigError, NotWritten
from povwatch.core.machine_faults import Place, translated
from povwatch.core.scores import SCORES
from povwatch.core.sentences import joined
from povwatch.ops.report import words
from povwatch.ops.report.data import STAGE_WORDS, largest, total
from povwatch.ops.report.markdown import as_markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from povwatch.ops.report.data import Line, Report

VERSION = 1
"""The version of the JSON's format."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Characters that begin a formula in spreadsheets."""

MOMENTS = ("seen_at", "queued_at", "started_at", "ended_at")


def check(files: Iterable[Path]) -> None:
    """Check that the reports can be written.

    Raises:
        ConfigError: names the first that cannot.
    """
    for file in files:
        if file.suffix.lower() not in FORMS:
            raise ConfigError(f"--report {file}: what form is that?", f"Let its name end in {', '.join(FORMS)}.")
        try:
            _try(file)
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


def _try(file: Path) -> None:
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


def as_json(report: Report) -> str:
    """Everything. Times are in ISO 8601, unmeasured values are null, and unmeasured stages are left out."""
    counts = {"done": report.done, "not_out": len(report.ended_badly), "open": len(report.open)}
    found = {
        "report_version": VERSION,
        "povwatch": report.version,
        "made_at": words.iso(report.made_at),
        "since": words.iso(report.since),
        "notes": list(report.notes),
        "left": list(report.left),
        "totals": {
            **counts,
            "cancelled": report.cancelled,
            "done_before": report.before,
            "seconds": report.seconds,
            "gpu_seconds": total(line.gpu_seconds for line in report.lines),
            "peak_memory": largest(line.peak_memory for line in report.lines),
            "energy": total(line.energy for line in report.lines),
            "clips_an_hour": report.an_hour,
        },
        "clips": [_object(line) for line in report.lines],
    }
    return json.dumps(found, indent=2, ensure_ascii=False) + "\n"


def as_csv(report: Report) -> str:
    """One line per clip, comma-separated (RFC 4180)."""
    text = io.StringIO()
    rows = [_flat(line) for line in report.lines]
    writer = csv.DictWriter(text, _flat_names(), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _object(line: Line) -> dict[str, Any]:
    found = asdict(line) | {"state": str(line.state), "took": line.took, "started_at": line.started_at}
    found["runs"] = [
        {"begun": words.iso(run.begun), "ended": words.iso(run.ended), "lost": run.lost} for run in line.runs
    ]
    return found | {name: words.iso(found[name]) for name in MOMENTS}


def _flat_names() -> list[str]:
    first = ["job", "clip", "state", "attempts", "crashes", "engine", *MOMENTS, "arriving", "grace", "queued"]
    shape = [f"{name}_{end}" for name in ("frames", "rate", "width", "height", "duration") for end in ("in", "out")]
    last = [
        *SCORES,
        "tries",
        "passed",
        "gpu",
        "gpu_seconds",
        "energy",
        "peak_memory",
        *shape,
        "output",
        "problem",
        "todo",
        "again",
        "damage",
    ]
    return [*first, *STAGE_WORDS, "took", *last]


def _flat(line: Line) -> dict[str, Any]:
    found = _object(line)
    pictures = {"in": found["source"], "out": found["result"]}
    shape = {f"{name}_{end}": picture[name] for end, picture in pictures.items() for name in picture}
    whole = found | found["seconds"] | shape | found["missing"] | found["scores"]
    return {name: _safe(whole.get(name)) for name in _flat_names()}


def _safe(value: object) -> object:
    """A cell that no spreadsheet takes for a formula; numbers stay as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


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
