"""Formats numbers and headlines. Unmeasured values become empty texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core import scores
from povwatch.core.local_time import local
from povwatch.core.units import spell_duration, spell_size

if TYPE_CHECKING:
    from povwatch.ops.report.data import Line, Picture, Report


def duration(seconds: float | None) -> str:
    """Such as "1 min 40 s"."""
    return "" if seconds is None else spell_duration(seconds)


def size(number: float | None) -> str:
    """Bytes, such as "64 GB"."""
    return "" if number is None else spell_size(number)


def rate(number: float | None) -> str:
    """Frames a second: "29.97"."""
    return "" if number is None else f"{number:.3f}".rstrip("0").rstrip(".")


def energy(joules: float | None) -> str:
    """In kilowatt hours, as on a bill: "1.24 kWh"."""
    return "" if joules is None else f"{joules / 3.6e6:.3g} kWh"


def moment(at: float | None) -> str:
    """Local time: "Fri 27 Nov 2026, 06:12"."""
    return "" if at is None else local(at).strftime("%a %d %b %Y, %H:%M")


def iso(at: float | None) -> str | None:
    """ISO 8601 with the zone."""
    return None if at is None else local(at).isoformat(timespec="seconds")


def change(before: object, after: object) -> str:
    """Input and output: "300" if they are equal, else "300 -> 297"."""
    known = [str(value) for value in (before, after) if value not in {None, ""}]
    return known[0] if len(set(known)) == 1 else " → ".join(known)


def frames(line: Line) -> str:
    """Frames of input and output."""
    return change(line.source.frames, line.result.frames)


def rates(line: Line) -> str:
    """Frames per second of input and output."""
    return change(rate(line.source.rate), rate(line.result.rate))


def shapes(line: Line) -> str:
    """Pixels of input and output."""
    return change(_shape(line.source), _shape(line.result))


def score(line: Line, name: str) -> str:
    """A score's number, or the word in its place."""
    return scores.shown(name, line.scores, line.missing)


def state(line: Line) -> str:
    """Its state."""
    return f"{line.state}, run again as job {line.again}" if line.again and not line.open else str(line.state)


def headline(report: Report) -> str:
    """The outcome of all clips, in one sentence."""
    lost, still = len(report.ended_badly), len(report.open)
    asked = report.done + lost + still
    if not asked:
        return "Nothing was run."
    if report.done == asked:
        text = "The clip came out" if asked == 1 else f"All {asked} clips came out"
    else:
        text = f"{report.done} of {asked} clip{'s' * (asked > 1)} came out"
        text += f", {lost} did not" * bool(lost) + f", {still} still open" * bool(still)
    return text + f", {len(report.flawed)} with something to check" * bool(report.flawed) + "."


def closing(report: Report) -> str:
    """The totals, at the end of the report on a terminal."""
    found = [f"{report.done} done, {len(report.ended_badly)} not done"]
    found += [f"{len(report.flawed)} with something to check"] * bool(report.flawed)
    found += [f"{len(report.open)} still open"] * bool(report.open)
    found += [f"{report.cancelled} cancelled"] * bool(report.cancelled)
    found += [f"{report.before} {'was' if report.before == 1 else 'were'} done before"] * bool(report.before)
    generating = report.seconds.get("generate")
    spent = "" if generating is None else f"; {duration(generating)} of generating in all"
    return ", ".join(found) + spent + "."


def named(names: list[str], most: int = 5) -> str:
    """The first names, and the number of others."""
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _shape(picture: Picture) -> str:
    return f"{picture.width}x{picture.height}" if picture.width and picture.height else ""
