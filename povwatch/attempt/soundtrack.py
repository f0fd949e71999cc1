"""The sound of a result, made before the engine generates. A sound that cannot be had costs the sound, not the clip."""

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
"""Seconds for the sound of a clip, and as many again as the clip lasts."""


def make(room: str, args: dict[str, Any], duration: float, cancelled: threading.Event) -> SoundTrack:
    """Make the sound in a child; if that dies of it, copy the sound without decoding it; else go on without.

    Args:
        room: the private folder.
        args: `source`, `info` and `prepared` for media.sound.
        duration: of the clip, in seconds.
        cancelled: looked at ten times a second.

    Raises:
        EnvironmentFault: the machine is at fault; so the sound may be had later.
        MediaStopped: `cancelled` said so.
    """
    if args["info"].get("audio") is None:
        return SoundTrack()
    ways = [True, False]
    """Whether the sound is decoded."""
    problem = ""
    while ways:
        decode = ways.pop(0)
        try:
            found = call(
                "sound",
                {**args, "out_path": NAME, "decode": decode},
                timeout=TIMEOUT + duration,
                room=room,
                cancelled=cancelled,
            )
        except (EnvironmentFault, MediaStopped):
            raise
        except PovwatchError as error:
            if isinstance(error, MediaKilled) and not problem:
                ways = [True, False]  # most often the machine did it, out of memory: that says nothing about the sound
            problem = problem or error.what
        else:
            made = SoundTrack.from_json(found)
            if decode or made.path is None:
                return made if decode else SoundTrack(problem=f"Its sound cannot be had: {problem}")
            return SoundTrack(made.path, made.audio, copied=True, changed=f"Its sound is copied unseen: {problem}")
    return SoundTrack(problem=f"Its sound cannot be had: {problem}")


def tell(store: JobStore, job: Job, sound: Mapping[str, Any]) -> None:
    """Say what is missing or lost of a clip's sound, once a job: its attempts all meet the same.

    Args:
        store: the jobs.
        job: whose clip.
        sound: SoundTrack, as JSON.
    """
    said = {event.event for event in store.journal.events(job.id)}
    for event, key in (("sound-left-out", "problem"), ("sound-changed", "changed")):
        if (problem := sound.get(key)) and event not in said:
            store.note(job, event, {"problem": problem})
