"""What a media child costs, of which there are four a clip: processor time, and how much of it is starting.

    python benchmarks/media_children.py [TIMES]

The clip is 12 frames of 96x64, so the work itself is next to nothing; each figure is the mean of TIMES children (20).
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.clips import make_clip

from povwatch.media.run import call

if TYPE_CHECKING:
    from collections.abc import Callable

TIMES = 20


def main(times: int = TIMES) -> None:
    """Measure each operation on a clip that needs nothing but a look, and on one that has to be turned."""
    bare = cost(lambda: subprocess.run([sys.executable, "-I", "-c", ""], check=True), times)
    print(f"Python alone: {bare:.0f} ms")
    with tempfile.TemporaryDirectory() as folder:
        for name, options in (("plain", {}), ("turned", {"rotation": 90})):
            clip, work, done = (Path(folder, f"{name}.{part}.mp4") for part in ("clip", "work", "done"))
            make_clip(clip, **options)
            info = call("inspect", {"path": str(clip), "kind": "mp4"}, timeout=60)
            prepare = {"source": str(clip), "info": info, "out_path": str(work)}
            prepared = call("prepare", prepare, timeout=60)
            finish = {"generated": str(work), "source": str(clip), "info": info, "prepared": prepared}
            for op, args in (
                ("inspect", {"path": str(clip), "kind": "mp4"}),
                ("prepare", prepare),
                ("finish", finish | {"out_path": str(done)}),
                ("check", {"artifact": str(done), "expectation": {}}),
            ):
                taken = cost(lambda op=op, args=args: call(op, args, timeout=60), times)
                print(f"{name}, {op}: {taken:.0f} ms, {taken / bare:.1f} times Python alone")


def cost(work: Callable[[], object], times: int) -> float:
    """Milliseconds of processor time that the children of one call take, on the mean."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    taken = []
    for _ in range(times):
        before = spent()
        work()
        taken.append(1000 * (spent() - before))
    return statistics.mean(taken)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
