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
"""The event of a clip that was renamed while it was held. `marker` is the `.hold` file that held it, `holder` who else
did, as `holder` says it."""

REBUILT = "rebuilt"
"""The event of a job that `povwatch rebuild` restored. `why` says why it is held, if it is."""

REQUEST = "request"
"""The event of what people ask for, such as `povwatch go` or `povwatch hold`."""


def held_by(job: Job, beside: Beside, *, marker: bool, go: bool, start: str | None, holder: str = "") -> str:
    """A sentence without its full stop; empty if the clip is not held.

    `marker` says that its `.hold` file exists, `go` that there was a go, by command or by file. `start` is that of its
    JSON, `holder` the result of the function of that name, for a job that is held in the journal.
    """
    let_go = command("go", clip=job.called)
    who = holder or "`povwatch hold` asked for it"
    if marker and job.hold:
        return f"{shown(beside.hold)} is there, and {who}; remove that file, and then: {let_go}"
    if marker:
        return f"{shown(beside.hold)} is there; remove that file to let the clip go"
    if job.hold:
        return f"{who}, and only {let_go} lets it go now" if holder else f"{who}; {let_go} lets it go"
    if start == "hold" and not go:  # a go comes after the JSON was written, and overrides its hold
        return f'its JSON says "start": "hold"; take that out, or: {let_go}'
    return ""


def holder(events: Iterable[Event]) -> str:
    """Who else than `povwatch hold` has a job held, from its events, as a clause; empty if nobody else.

    The last event about it counts.
    """
    found = ""
    for event in events:
        if event.event == HELD_BEFORE:
            marker = event.data.get("marker")
            found = f"{marker} held it under its name before" if marker else str(event.data.get("holder", ""))
        elif event.event == REBUILT and (why := event.data.get("why")):
            found = f"`povwatch rebuild` held it ({why})"
        elif event.event == REQUEST:
            found = ""
    return found
