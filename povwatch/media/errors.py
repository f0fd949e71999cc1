"""What can go wrong with a clip's frames, beyond the common tree.

AttemptFailed
`-- MediaError       the child that worked on the clip failed or died
    `-- MediaKilled  somebody killed it; most often the machine, out of memory
Shortage
`-- NoProcess        the machine has no room for a process or a thread at present
NotAVideo
`-- TooLarge         more pixels, frames or hours than the limits allow
PovwatchError
`-- MediaStopped     the work was called off; neither the clip nor the machine is at fault
"""

from __future__ import annotations

from povwatch.core.errors import AttemptFailed, NotAVideo, PovwatchError, Shortage

KILLED_MAX = 5
"""So often in a row is a file looked at again when the look was killed; then it may be the cause."""


class MediaError(AttemptFailed):
    """The child that worked on the clip failed, died, or took too long."""


class MediaKilled(MediaError):  # noqa: N818 - as MediaStopped
    """The child was killed: that may be the clip's doing, and most often is not."""


class NoProcess(Shortage):
    """The machine did not let us start a child, or a child its threads: that says nothing about the clip."""


class TooLarge(NotAVideo):
    """The clip is beyond a limit that protects this machine."""


class MediaStopped(PovwatchError):  # noqa: N818 - an answer, not a failure
    """The work was called off while it ran."""
