"""Publishing: the only part that makes anything visible in outputs/.

The steps, with the journal's COMMITs that the caller makes in between:

1. `staging`: the worker writes into `outputs/.povwatch/<job>.<run_id>/` and nowhere else.
2. `seal`: the checked files are put on the disk for certain, and their final names are chosen.
3. COMMIT `publishing` with the `Sealed` promise.
4. `publish`: each file is renamed to its final name, never over another one; the manifest goes last.
5. COMMIT `done`, then `finish` clears the room.

Whatever is interrupted, `publish` of the same promise is safe to repeat and ends the same way: that is the recovery.
The protocol is that of maildir and of every careful installer: write aside, fsync, rename, fsync the folder.
"""

from povwatch.core.errors import OutputsAway
from povwatch.publish.faults import OutputRefused, PublishStopped, TargetTaken, WriteFailed
from povwatch.publish.promise import Entry, Published, Sealed
from povwatch.publish.publisher import Describe, Names, Publisher

__all__ = [
    "Describe",
    "Entry",
    "Names",
    "OutputRefused",
    "OutputsAway",
    "PublishStopped",
    "Published",
    "Publisher",
    "Sealed",
    "TargetTaken",
    "WriteFailed",
]
