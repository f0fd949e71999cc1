"""Errors about a clip's frames, beyond the common tree.

AttemptFailed
`-- MediaError       the child that worked on the clip failed or died
    |-- MediaKilled  the child was killed; most often the machine was out of memory
    `-- MediaTooSlow the child took longer than it may
Shortage
`-- NoProcess        the machine cannot start a process or a thread now
NotAVideo
`-- TooLarge         more pixels, frames or hours than the limits allow
PovwatchError
`-- MediaStopped     the work was cancelled; neither the clip nor the machine is at fault
"""

from __future__ import annotations

from povwatch.core.errors import AttemptFailed, NotAVideo, PovwatchError, Shortage

KILLED_MAX = 5
"""Looks at one file that are killed in a row before the file counts as the cause."""

RUN_AGAIN = "Run it again; if it comes out the same, the engine is at fault."
"""What to do about an artifact that is not what was asked for."""


STEPS = {
    "examine": "Looking into the clip",
    "inspect": "Looking into the clip",
    "glimpse": "Looking into the clip",
    "measure": "Looking into a file that the JSON names",
    "prepare": "Making the working copy of the clip",
    "sound": "Making the sound of the result",
    "mask": "Making the mask of what is kept",
    "finish": "Finishing the result",
    "check": "Checking the result",
    "score": "Scoring the result",
    "still": "Taking a picture of a video",
    "annotate": "Computing a control of the clip",
    "decode": "Decoding a video",
    "codecs": "Looking for codecs",
    "hands": "Loading the model of hands",
}
"""The name of a child's operation to what people are told of it, as the beginning of a sentence."""


class MediaError(AttemptFailed):
    """The child that worked on the clip failed, died, or took too long."""


class MediaKilled(MediaError):  # noqa: N818 - as MediaStopped
    """The child was killed. The clip may be the cause, but most often is not."""


class MediaTooSlow(MediaError):  # noqa: N818 - as MediaStopped
    """The child took longer than it may, and was stopped."""


class NoProcess(Shortage):
    """The machine refused to start a child, or a child's thread. That says nothing about the clip."""


class TooLarge(NotAVideo):
    """The clip is beyond a limit that protects this machine."""


class MediaStopped(PovwatchError):  # noqa: N818 - an answer, not a failure
    """The work was cancelled while it ran."""
