"""100,000 files that come while the daemon watches: is one missed, and when is the last one seen?

    python benchmarks/arrivals_100k.py [COUNT [A_FOLDER]]

The clips are empty files, so each waits as `incomplete`; COUNT of them, A_FOLDER in each folder.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from folder_100k import cpu, said, wait

COUNT = 100_000
A_FOLDER = 1_000


def main(count: int = COUNT, a_folder: int = A_FOLDER) -> None:
    """Start the daemon, make the files, wait until each has a job, print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "inputs").mkdir()
        (root / "config.toml").write_text("")
        journal, log = root / ".povwatch" / "journal.sqlite3", root / "log"
        with log.open("wb") as lines:
            command = [sys.executable, "-m", "povwatch", "--config", str(root / "config.toml"), "run"]
            daemon = subprocess.Popen(command, stderr=lines, cwd=root)
        try:
            said(log, "daemon-started")
            began = time.monotonic()
            for number in range(count):
                place = root / "inputs" / f"day-{number // a_folder:04}"
                place.mkdir(exist_ok=True)
                (place / f"clip-{number:06}.mp4").touch()
            made, seen = time.monotonic() - began, jobs(journal)
            print(f"{count:,} files made in {made:.1f} s; {seen:,} of them were seen by then")
            wait(journal, "1", count)
            print(f"0 missed: the last one was seen {time.monotonic() - began - made:.1f} s after it was made")
            print(f"the daemon used {cpu(daemon.pid):.1f} s of a core")
            events = [json.loads(line)["event"] for line in log.read_text().splitlines()]
            print(f"cancelled: {events.count('cancelled')}, watchers started anew: {events.count('watch-restarted')}")
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(60)


def jobs(journal: Path) -> int:
    """How many clips the daemon knows."""
    db = sqlite3.connect(f"file:{journal}?mode=ro", uri=True, timeout=30)
    try:
        return int(db.execute("SELECT count(*) FROM jobs").fetchone()[0])
    finally:
        db.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
