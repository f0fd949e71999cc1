"""How long workers are idle while work waits: the daemon with toy engines on the CPU, from the journal's events.

    python benchmarks/many_workers.py [--workers 8] [--clips 200] [--seconds 5] [--kills 0]

The media work is copying (tests/support/many_workers.py), so what is seen is the queue alone.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.idle import attempts, gaps
from support.many_workers import ManyWorkers


def main(asked: argparse.Namespace) -> None:
    """Run it and print the figures."""
    chance = random.Random(0)  # noqa: S311 - no secret
    with (
        tempfile.TemporaryDirectory() as place,
        ManyWorkers(Path(place, "pov"), asked.workers, seconds=asked.seconds) as here,
    ):
        here.fill(asked.clips)
        here.start()
        for number in range(asked.kills):
            here.until(
                lambda least=(number + 1) * asked.clips // (asked.kills + 1): len(here.runs) >= least, patience=600
            )
            here.kill_somebody(chance)
        here.until(lambda: len(here.events("done")) == asked.clips, patience=3600)
        log = here.events()
        here.stop()
        made, found = attempts(here.state), gaps(here.state, log)
    span = max(attempt.end for attempt in made) - min(attempt.start for attempt in made)
    waited = sorted(gap.waited for gap in found)
    idle = sum(waited)
    print(
        f"{asked.workers} workers, {asked.clips} clips of {asked.seconds} s at most, {asked.kills} kills: {span:.1f} s"
    )
    print(f"attempts that did not come out: {sum(not attempt.generated for attempt in made)}")
    print(f"idle while work waited: {idle:.2f} s of {asked.workers * span:.1f} s, {idle / asked.workers / span:.2%}")
    median, longest = (waited[place] * 1000 for place in (len(waited) // 2, -1))
    print(f"a worker's wait for its next clip: median {median:.0f} ms, longest {longest:.0f} ms")
    print(f"passed over for another that got two: {sum(gap.passed_over for gap in found)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--kills", type=int, default=0)
    main(parser.parse_args())
