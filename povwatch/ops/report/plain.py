"""A report for programs: JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from povwatch.ops.report import words
from povwatch.ops.report.data import STAGES, largest, total

if TYPE_CHECKING:
    from povwatch.ops.report.data import Line, Report

VERSION = 1
"""The version of the JSON's format."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Characters that begin a formula in spreadsheets."""

MOMENTS = ("seen_at", "queued_at", "started_at", "ended_at")


def as_json(report: Report) -> str:
    """Everything. Times are in ISO 8601, unmeasured values are null, and unmeasured stages are left out."""
    counts = {"done": report.done, "not_out": len(report.not_out), "open": len(report.open)}
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
    names = list(_flat_names())
    writer = csv.DictWriter(text, names, lineterminator="\r\n")
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
    last = ["gpu", "gpu_seconds", "energy", "peak_memory", *shape, "output", "problem", "todo", "again", "damage"]
    return [*first, *STAGES, "took", *last]


def _flat(line: Line) -> dict[str, Any]:
    found = _object(line)
    pictures = {"in": found["source"], "out": found["result"]}
    shape = {f"{name}_{end}": picture[name] for end, picture in pictures.items() for name in picture}
    whole = found | found["seconds"] | shape
    return {name: _safe(whole.get(name)) for name in _flat_names()}


def _safe(value: object) -> object:
    """A cell that no spreadsheet takes for a formula; numbers stay as they are."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
