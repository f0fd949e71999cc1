"""How the pool grows: `povwatch run`, `povwatch pool`, Ray with logical GPUs of this machine, an engine that sleeps.

    python benchmarks/pool_scale.py [--workers 1,8,64] [--clips 10000] [--each 12] [--seconds 6] [--out FILE]

The media work is copying, within the daemon (tests/support/many_workers.py), so what is seen is the queue, the journal,
the bridge and Ray. Each number of workers has a daemon, a bridge and a folder of its own; the largest gets --clips,
each other --each times its workers. It leaves nothing behind and may be repeated.

Throughput counts from the moment when every worker has had a clip to the last start: before and after it some have
nothing to do. Ideal is one clip of --seconds after the other on each worker. benchmarks/plots.py draws
benchmarks/results/pool-scale.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.daemons import toy
from support.idle import attempts
from support.many_workers import ManyWorkers
from support.ray_cluster import Pool, RayCluster

COMMITS = 500
"""Commits whose time is taken."""

GPUS = 1000

CLIP_SECONDS = 223.6
"""Of 93 frames on an H200, exact: benchmarks/results/daemon-h200.json."""

CLIP_BYTES = 30e6
"""Of a clip, and of its result: 5 to 60 MB."""

CHUNK_BYTES = 22e6
"""Of a chunk's latents."""

WANTED = {"of_ideal": 0.95, "daemon_cores": 0.25, "daemon_bytes": 250e6}


class Sampled(threading.Thread):
    """Processor time and memory of a process, once a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._over = pid, threading.Event()
        self.samples: list[tuple[float, float]] = []
        """Time, and seconds of processor time until then."""
        self.peak = 0
        """Bytes."""
        self.start()

    def run(self) -> None:
        """Look until it is over."""
        while not self._over.wait(1.0):
            try:
                fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
                pages = int(Path(f"/proc/{self._pid}/statm").read_text().split()[1])
            except OSError:
                return
            self.samples.append((time.time(), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")))
            self.peak = max(self.peak, pages * os.sysconf("SC_PAGE_SIZE"))

    def cores(self, begin: float, end: float) -> float | None:
        """Its share of a core in between."""
        within = [sample for sample in self.samples if begin <= sample[0] <= end]
        if len(within) < 2:  # noqa: PLR2004 - a difference
            return None
        (first, before), (last, after) = within[0], within[-1]
        return round((after - before) / (last - first), 4)

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self.join()


def measure(cluster: RayCluster, folder: Path, workers: int, clips: int, seconds: float) -> dict[str, Any]:
    """One run."""
    pool = {"kind": "ray", "address": cluster.address, "max": workers}
    with ManyWorkers(folder, 0, seconds=seconds) as here:
        here.configure(
            engine={"kind": toy("sleeps"), "workers": 0},
            pool=pool,
            grace={"period": "0s"},
            arrival={"settle": "50ms"},
        )
        here.forks_media = False  # there is none to fork
        here.fill(clips)
        begun = time.time()
        here.start()
        daemon = Sampled(here.pid)
        with closing(Pool(folder / "config.toml", folder / "pool.log")) as bridge:
            bridge.says("bridge-connected")
            driver = Sampled(bridge.bridge)
            wait(here, clips, 60 + 3 * clips * seconds / workers + 4 * workers)
            took, log = time.time() - begun, here.events()
            driver.close()
        daemon.close()
        here.stop()
        made = [one for one in attempts(here.state) if one.generated]
        once = published_once(here.state)
        events, size = journal(here.state)
    first: dict[int, float] = {}
    for one in made:
        first.setdefault(one.worker, one.begun)
    begin, end = max(first.values()), max(one.start for one in made)
    within = [one for one in made if begin <= one.end <= end]
    rate, ideal = len(within) / (end - begin), workers / seconds
    cores = daemon.cores(begin, end)
    return {
        "workers": workers,
        "workers_seen": len(first),
        "clips": clips,
        "seconds_a_clip": seconds,
        "whole_s": round(took, 1),
        "steady_s": round(end - begin, 1),
        "clips_a_second": round(rate, 4),
        "ideal": round(ideal, 4),
        "of_ideal": round(rate / ideal, 4),
        "daemon_cores": cores,
        "daemon_cores_whole": daemon.cores(0, float("inf")),
        "daemon_cpu_a_clip_s": round(cores / rate, 5) if cores is not None else None,
        "daemon_bytes": daemon.peak,
        "bridge_cores": driver.cores(begin, end),
        "bridge_bytes": driver.peak,
        "events_a_clip": round(events / clips, 2),
        "journal_bytes_a_clip": round(size / clips),
        "each_once": once == clips,
        "attempts": len(made),
        "lost": sum(line["event"] == "worker-died" for line in log),
    }


def wait(here: ManyWorkers, clips: int, patience: float) -> None:
    """Wait until all clips are done. It seldom looks: counting takes processor time too."""
    deadline = time.monotonic() + patience
    while done(here.state) < clips:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{done(here.state)} of {clips} clips are done after {patience:.0f} s")
        time.sleep(1)


def done(state: Path) -> int:
    """How many clips are done."""
    return int(_asked(state, "SELECT count(*) FROM jobs WHERE state = 'done'")[0][0])


def published_once(state: Path) -> int:
    """How many clips were generated once and done once."""
    rows = _asked(state, "SELECT job, event FROM job_events WHERE event IN ('generated', 'done')")
    each: dict[int, Counter[str]] = {}
    for job, event in rows:
        each.setdefault(job, Counter())[event] += 1
    return sum(one == Counter(generated=1, done=1) for one in each.values())


def journal(state: Path) -> tuple[int, int]:
    """How many events the journal has, and its bytes."""
    return int(_asked(state, "SELECT count(*) FROM job_events")[0][0]), (state / "journal.sqlite3").stat().st_size


def _asked(state: Path, question: str) -> list[Any]:
    with closing(sqlite3.connect(f"file:{state / 'journal.sqlite3'}?mode=ro", uri=True)) as database:
        return database.execute(question).fetchall()


def commits(folder: Path) -> float:
    """Commits a second of a journal on this disk: WAL, synced at each commit as povwatch's."""
    with closing(sqlite3.connect(folder / "commits.sqlite3", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE t (text TEXT)")
        begun = time.perf_counter()
        for _ in range(COMMITS):
            database.execute("INSERT INTO t VALUES (?)", ("x" * 400,))
        return COMMITS / (time.perf_counter() - begun)


def reckoned(run: dict[str, Any], commits_a_second: float) -> dict[str, Any]:
    """What GPUS GPUs would ask of the first machine, if each does a clip of CLIP_SECONDS after the other."""
    rate = GPUS / CLIP_SECONDS
    return {
        "gpus": GPUS,
        "clips_a_second": round(rate, 3),
        "daemon_cores": round(rate * run["daemon_cpu_a_clip_s"], 3) if run["daemon_cpu_a_clip_s"] else None,
        "commits_a_second": round(rate * run["events_a_clip"], 1),
        "commits_possible": round(commits_a_second),
        # The arrival reads the clip, the private copy and the working copy are written and read, and so is the result.
        "disk_mb_s": round(rate * 7 * CLIP_BYTES / 1e6),
        # The nodes read the working copy and write the result, over NFS or as messages.
        "network_mb_s": round(rate * 2 * CLIP_BYTES / 1e6),
        "network_with_chunks_mb_s": round(rate * (2 * CLIP_BYTES + CHUNK_BYTES) / 1e6),
    }


def main(asked: argparse.Namespace) -> int:
    """Run all; 1 if the largest is not as it should be."""
    counts = sorted({int(number) for number in asked.workers.split(",")})
    runs = []
    with tempfile.TemporaryDirectory(dir=asked.folder) as place:
        cluster = RayCluster()
        try:
            cluster.add(
                gpus=counts[-1],
                TOY_SECONDS=str(asked.seconds),
                POVWATCH_NODE_STATE=str(Path(place, "node")),
            )
            for workers in counts:
                clips = asked.clips if workers == counts[-1] else asked.each * workers
                runs.append(measure(cluster, Path(place, f"pov-{workers}"), workers, clips, asked.seconds))
                print(json.dumps(runs[-1]), flush=True)
        finally:
            cluster.close()
        possible = commits(Path(place))
    last = runs[-1]
    found = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load_before": asked.load,
        "runs": runs,
        "commits_a_second": round(possible),
        "at_1000_gpus": reckoned(last, possible),
    }
    print(json.dumps(found["at_1000_gpus"]))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")
    well = {
        "each once": last["each_once"],
        "of ideal": last["of_ideal"] >= WANTED["of_ideal"],
        "daemon's processor time": last["daemon_cores"] is not None and last["daemon_cores"] < WANTED["daemon_cores"],
        "daemon's memory": last["daemon_bytes"] < WANTED["daemon_bytes"],
    }
    print(", ".join(f"{name}: {'as wanted' if well_ else 'NOT as wanted'}" for name, well_ in well.items()))
    return 0 if all(well.values()) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2,4,8,16,32,64", help="numbers of workers, with commas")
    parser.add_argument("--clips", type=int, default=10_000, help="of the largest run")
    parser.add_argument("--each", type=int, default=12, help="clips for each worker of the others")
    parser.add_argument("--seconds", type=float, default=6.0, help="of each clip")
    parser.add_argument(
        "--folder", type=Path, help="where its folders are made; the journal's disk is what is measured"
    )
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    given = parser.parse_args()
    given.load = round(os.getloadavg()[0], 1)
    sys.exit(main(given))
