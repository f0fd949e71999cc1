"""Who holds a clip back, and how to let it go. Pure.

There are three ways to hold a clip, and each is let go in its own way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core.command import command
from povwatch.core.layout import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from povwatch.core.job import Job
    from povwatch.core.layout import Beside
    from povwatch.journal.reader import Event


HELD_BEFORE = "held-before"
"""The event of a clip that was renamed while a `.hold` file held it: `marker` is that file."""


def held_by(job: Job, beside: Beside, *, marker: bool, go: bool, start: str | None, marker_before: str = "") -> str:
    """One sentence without its full stop; empty where nobody holds it.

    Args:
        job: the clip's.
        beside: its files.
        marker: whether its `.hold` file is there.
        go: whether somebody said go, by command or by file.
        start: what its JSON says.
        marker_before: the `.hold` file that held it under the name that it had before; empty if none did.
    """
    let_go = command("go", clip=job.path)
    said = f"{marker_before} held it under its name before" if marker_before else "povwatch hold was said"
    if marker and job.hold:
        return f"{shown(beside.hold)} is there, and {said}; remove that file, and then: {let_go}"
    if marker:
        return f"{shown(beside.hold)} is there; remove that file to let the clip go"
    if job.hold and marker_before:
        return f"{said}, and only {let_go} lets it go now"
    if job.hold:
        return f"{said}; {let_go} lets it go"
    if start == "hold" and not go:  # go is said after the JSON was written, and over its hold
        return f'its JSON says "start": "hold"; take that out, or: {let_go}'
    return ""


def marker_before(events: Iterable[Event]) -> str:
    """The `.hold` file that held a clip under the name that it had before, by its job's history; empty if none did."""
    return next((str(event.data.get("marker", "")) for event in events if event.event == HELD_BEFORE), "")
