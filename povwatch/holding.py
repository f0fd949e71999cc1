"""Who holds a clip back, and how to let it go. Pure.

There are three ways to hold a clip, and each is let go in its own way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.command import command
from povwatch.layout import shown

if TYPE_CHECKING:
    from povwatch.job import Job
    from povwatch.layout import Beside


def held_by(job: Job, beside: Beside, *, marker: bool, go: bool, start: str | None) -> str:
    """One sentence without its full stop; empty where nobody holds it.

    Args:
        job: the clip's.
        beside: its files.
        marker: whether its `.hold` file is there.
        go: whether somebody said go, by command or by file.
        start: what its JSON says.
    """
    if marker:
        return f"{shown(beside.hold)} is there; remove that file to let the clip go"
    if job.hold:
        return f"povwatch hold was said; {command('go', clip=job.path)} lets it go"
    if start == "hold" and not go:  # go is said after the JSON was written, and over its hold
        return f'its JSON says "start": "hold"; take that out, or: {command("go", clip=job.path)}'
    return ""
