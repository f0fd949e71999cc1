"""Makes the sound of a result, before the engine generates. Without a usable sound the clip still runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from povwatch.core.errors import EnvironmentFault, PovwatchError
from povwatch.media.errors import MediaKilled, MediaStopped
from povwatch.media.info import SoundTrack
from povwatch.media.run import call

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from povwatch.core.job import Job
    from povwatch.journal.store import JobStore

NAME = "sound.mp4"

TIMEOUT = 600.0
"""Seconds for a clip's sound, on top of the clip's duration."""


def make(folder: str, args: dict[str, Any], duration: float, cancelled: threading.Event) -> SoundTrack:
    """Make the sound in a child process. If that crashes, copy the sound undecoded; if that fails, go without.

    Args:
        folder: the private folder.
        args: `source`, `info` and `prepared` for media.sound.
        duration: of the clip, in seconds.
        cancelled: checked ten times a second.

    Raises:
        EnvironmentFault: the machine is to blame, so a later try may succeed.
        MediaStopped: `cancelled` was set.
    """
    if args["info"].get("audio") is None:
        return SoundTrack()
    ways = [True, False]
    """Whether the sound is decoded, for each try."""
    problem = ""
    while ways:
        decode = ways.pop(0)
        try:
            found = call(
                "sound",
                {**args, "out_path": NAME, "decode": decode},
                timeout=TIMEOUT + duration,
                folder=folder,
                cancelled=cancelled,
            )
        except (EnvironmentFault, MediaStopped):
            raise
        except PovwatchError as error:
            if isinstance(error, MediaKilled) and not problem:
                ways = [True, False]  # usually memory ran out, which says nothing about the sound
            problem = problem or error.what
        else:
            made = SoundTrack.from_json(found)
            if decode or made.path is None:
                return made if decode else SoundTrack(problem=f"Its sound cannot be had: {problem}")
            return SoundTrack(made.path, made.audio, copied=True, changed=f"Its sound is copied unseen: {problem}")
    return SoundTrack(problem=f"Its sound cannot be had: {problem}")


def log_problems(store: JobStore, job: Job, sound: Mapping[str, Any]) -> None:
    """Log what is missing from a clip's sound, once a job, since all its attempts meet the same. `sound` is JSON."""
    logged = {event.event for event in store.journal.events(job.id)}
    for event, key in (("sound-left-out", "problem"), ("sound-changed", "changed")):
        if (problem := sound.get(key)) and event not in logged:
            store.note(job, event, {"problem": problem})
