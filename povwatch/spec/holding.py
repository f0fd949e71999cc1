"""Why a clip is held, and how to release it. Pure.

There are three ways to hold a clip, and each is released in its own way.
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
"""The event of a clip that was renamed while a `.hold` file held it. `marker` is that file."""


def held_by(job: Job, beside: Beside, *, marker: bool, go: bool, start: str | None, marker_before: str = "") -> str:
    """A sentence without its full stop; empty if the clip is not held.

    `marker` says that its `.hold` file exists, `go` that there was a go, by command or by file. `start` is that of its
    JSON, `marker_before` the `.hold` file that held it under its former name.
    """
    let_go = command("go", clip=job.called)
    holder = f"{marker_before} held it under its name before" if marker_before else "`povwatch hold` asked for it"
    if marker and job.hold:
        return f"{shown(beside.hold)} is there, and {holder}; remove that file, and then: {let_go}"
    if marker:
        return f"{shown(beside.hold)} is there; remove that file to let the clip go"
    if job.hold and marker_before:
        return f"{holder}, and only {let_go} lets it go now"
    if job.hold:
        return f"{holder}; {let_go} lets it go"
    if start == "hold" and not go:  # a go comes after the JSON was written, and overrides its hold
        return f'its JSON says "start": "hold"; take that out, or: {let_go}'
    return ""


def marker_before(events: Iterable[Event]) -> str:
    """The `.hold` file that held the clip under its former name, from its job's events; empty if none did."""
    return next((str(event.data.get("marker", "")) for event in events if event.event == HELD_BEFORE), "")
