"""The daemon on a folder of 100,000 clips: its first scan and insert, then what it costs while nothing happens.

    python benchmarks/folder_100k.py [COUNT [IDLE [A_FOLDER]]]

COUNT clips, A_FOLDER of them in each folder; IDLE seconds are watched.
The clips are empty files, so each waits as `incomplete`. Then all of them are marked done and the daemon starts again.
The figures are the daemon's own process as the kernel counts it (/proc/PID/stat and status).
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

COUNT = 100_000
IDLE = 30
A_FOLDER = 1_000
TICKS = os.sysconf("SC_CLK_TCK")


def main(count: int = COUNT, idle: int = IDLE, a_folder: int = A_FOLDER) -> None:
    """Make the files, run the daemon twice, print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "inputs").mkdir()
        for number in range(count):
            place = root / "inputs" / f"day-{number // a_folder:04}"
            place.mkdir(exist_ok=True)
            (place / f"clip-{number:06}.mp4").touch()
        (root / "config.toml").write_text("")
        measure("all new", root, count, idle, settled="waiting_on = 'incomplete'")
        with sqlite3.connect(root / ".povwatch" / "journal.sqlite3") as db:
            db.execute("UPDATE jobs SET state = 'done', waiting_on = NULL")
        db.close()
        measure("all done", root, count, idle, settled="state = 'done'")


def measure(name: str, root: Path, count: int, idle: int, *, settled: str) -> None:
    """Start the daemon; wait for its scan, then for quiet; watch it idle; stop it."""
    began, begun = time.monotonic(), time.time()
    with (root / "log").open("wb") as log:
        command = [sys.executable, "-m", "povwatch", "--config", str(root / "config.toml"), "run"]
        daemon = subprocess.Popen(command, stderr=log, cwd=root)
    try:
        db = root / ".povwatch" / "journal.sqlite3"
        wait(db, "1", count)
        took, start = time.monotonic() - began, said(root / "log", "daemon-started") - begun
        if took > start:  # else the journal has them all from before
            print(
                f"{name}: first scan and insert of {count:,} clips: {took - start:.2f} s, after {start:.2f} s of start"
            )
        wait(db, settled, count)
        print(f"{name}: all at rest after {time.monotonic() - began:.1f} s")
        time.sleep(10)
        before = cpu(daemon.pid)
        time.sleep(idle)
        share = 100 * (cpu(daemon.pid) - before) / idle
        now, most = memory(daemon.pid)
        print(f"{name}: idle for {idle} s: {share:.2f} % of a core; memory {now:.0f} MB, at most {most:.0f} MB")
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(30)


def wait(file: Path, condition: str, count: int) -> None:
    """Until so many jobs fulfil a condition."""
    while True:
        time.sleep(0.05)
        if not file.exists():
            continue
        db = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)
        try:
            if db.execute(f"SELECT count(*) FROM jobs WHERE {condition}").fetchone()[0] == count:  # noqa: S608 - ours
                return
        except sqlite3.OperationalError:
            continue
        finally:
            db.close()


def said(log: Path, event: str) -> float:
    """When the daemon said something first, in seconds since the epoch."""
    while True:
        for line in map(json.loads, log.read_text().splitlines()):
            if line["event"] == event:
                return datetime.fromisoformat(line["timestamp"]).timestamp()
        time.sleep(0.05)


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory(pid: int) -> tuple[float, float]:
    """Resident memory of a process in MB: now, and the most that it ever was."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    kilobytes = {name: int(value.split()[0]) for name, _, value in (x.partition(":") for x in lines) if "kB" in value}
    return kilobytes["VmRSS"] / 1000, kilobytes["VmHWM"] / 1000


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
