"""What to do about a clip that failed or waits. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from povwatch.core import layout
from povwatch.core.command import command
from povwatch.core.job import JobState, Waiting

if TYPE_CHECKING:
    from povwatch.core.job import Job

WAITS = {
    Waiting.HELD: "Let it go: {go}",
    Waiting.INVALID_SPEC: "Put {spec} right; {why} says what is wrong in it.",
    Waiting.INCOMPLETE: "Copy it again: part of the file is missing. If this is all that there is: {damaged}",
    Waiting.WRITER_OPEN: "A program has it open for writing: let that finish, or end it.",
    Waiting.INPUTS_REFUSED: "Let povwatch write in that folder: chmod g+w.",
    Waiting.INPUTS_AWAY: "Mount the folder again; it goes on by itself.",
    Waiting.DISK_FULL: "Make room; it goes on by itself.",
    Waiting.ENGINE_UNAVAILABLE: "{doctor} says what this machine lacks.",
    Waiting.GPU_LOST: "{doctor} says what is wrong with the GPU.",
}
"""Reasons to wait that need a person."""


def advice(job: Job) -> str:
    """A sentence with the command to type; empty if the job goes on by itself, or its error says what to do."""
    words = {
        "spec": layout.shown(layout.beside(job.path, job.base).spec),
        "doctor": command("doctor"),
        "damaged": command("go", "--damaged", clip=job.path),
        **{verb: command(verb, clip=job.path) for verb in ("go", "why", "retry")},
    }
    if job.state is JobState.BLOCKED:
        return "Change the prompt in {spec}, and it runs again; or take another video.".format(**words)
    if job.state is JobState.FAILED:
        return "When that is mended: {retry}".format(**words)
    if not job.ended and job.waiting_on is not None:
        return WAITS.get(job.waiting_on, "").format(**words)
    return ""
