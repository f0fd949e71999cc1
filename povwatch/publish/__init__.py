"""Publishing. No other package makes anything visible in outputs/.

The steps, with the COMMITs of the journal that the caller makes in between:

1. `staging`: the worker writes into `outputs/.povwatch/<job>.<run_id>/` and nowhere else.
2. `seal`: the checked files are synced, and their final names are chosen.
3. COMMIT `publishing` with the `Sealed` promise.
4. `publish`: each file is renamed to its final name, never over another file; the manifest goes last.
5. COMMIT `done`, then `Staging.delete_job` deletes the private folder.

After any interruption `publish` of the same promise can be repeated, and ends the same way. That is the recovery.
Maildir and careful installers use the same protocol: write aside, fsync, rename, fsync the folder.
"""

from povwatch.publish.faults import OutputRefused, PublishStopped, TargetTaken
from povwatch.publish.promise import Entry, Published, Sealed
from povwatch.publish.publisher import Describe, Names, Publisher

__all__ = [
    "Describe",
    "Entry",
    "Names",
    "OutputRefused",
    "PublishStopped",
    "Published",
    "Publisher",
    "Sealed",
    "TargetTaken",
]
