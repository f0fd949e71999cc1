"""How long a scan of 100,000 clips takes, and how much memory its listing holds.

    python benchmarks/scan_100k.py [COUNT]

The files are empty and each has its JSON beside it, spread over folders of 1,000, in a temporary folder.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path

from povwatch.arrival.settle import Settle
from povwatch.config.settings import Arrival
from povwatch.files.scan import scan

COUNT = 100_000
A_FOLDER = 1_000
ROUNDS = 3


def main(count: int) -> None:
    """Make the files, scan them, print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        began = time.monotonic()
        fill(root, count)
        print(f"made      {count:,} clips with their JSON in {time.monotonic() - began:.1f} s")
        before = memory_mb()
        for i in range(ROUNDS):
            began = time.monotonic()
            listing = scan(root, Arrival())
            print(f"scan {i + 1}    {time.monotonic() - began:.2f} s")
        assert len(listing.clips) == len(listing.specs) == count
        began = time.monotonic()
        timers = {path: Settle() for path in listing.clips}
        for path, signature in listing.clips.items():
            timers[path].observe(signature, began, 5)
        print(f"timers    {time.monotonic() - began:.2f} s")
        print(f"memory    {memory_mb() - before:.0f} MB more at the most, {memory_mb():.0f} MB in all")


def fill(root: Path, count: int) -> None:
    """Put `count` clips and JSON files into folders of a thousand."""
    for i in range(count):
        folder = root / f"day-{i // A_FOLDER:04}"
        if i % A_FOLDER == 0:
            folder.mkdir()
        (folder / f"clip-{i:06}.mp4").touch()
        (folder / f"clip-{i:06}.json").touch()


def memory_mb() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT)
