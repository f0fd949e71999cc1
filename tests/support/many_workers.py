"""A povwatch with many workers and short jobs. Only the media work is replaced, by copies.

`Daemon.before` replaces the media children in each command's process, and shortens the pauses after a death.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.clips import make_clip
from support.daemons import Daemon, toy
from support.gpu_machine import children

from povwatch.media.info import Checked, Finished, Prepared, Scored, SoundTrack

if TYPE_CHECKING:
    import random

INFO = {
    "complete": True,
    "container": "mov",
    "codec": "h264",
    "width": 64,
    "height": 48,
    "display_width": 64,
    "display_height": 48,
    "pix_fmt": "yuv420p",
    "frames": 4,
    "rate": "30/1",
    "constant": True,
    "duration": 4 / 30,
}
"""VideoInfo of every clip."""

PAUSE = 0.05
"""Seconds from a death to the next worker, and to the next attempt."""


class ManyWorkers(Daemon):
    """Its engine is tests/engines/short_jobs.py."""

    def __init__(self, folder: Path, workers: int, *, seconds: float) -> None:
        """Write its configuration.

        Args:
            folder: as for Daemon.
            seconds: the longest time of a job.
        """
        super().__init__(
            folder,
            engine={"kind": toy("short_jobs"), "workers": workers, "attempts": 50},
            grace={"period": "0s"},
            arrival={"settle": "50ms"},
        )
        self.before = _begin
        self.env |= {"TOY_RUNS": str(folder / "runs"), "TOY_SECONDS": str(seconds)}

    def fill(self, many: int) -> list[str]:
        """Put clips into inputs/; returns their names."""
        one = make_clip(self.folder / "one.mp4", frames=4, size=(64, 48))
        names = [f"{number:03d}.mp4" for number in range(many)]
        for name in names:
            shutil.copyfile(one, self.inputs / name)
        return names

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Every `generate`: its run's folder and its worker's process id."""
        file = Path(self.env["TOY_RUNS"])
        lines = file.read_text().splitlines() if file.exists() else []
        return [(room, int(pid)) for room, pid in map(str.split, lines)]

    def kill_somebody(self, chance: random.Random) -> None:
        """Kill one of the workers (SIGKILL)."""
        if found := sorted(children(self.pid)):
            os.kill(chance.choice(found), signal.SIGKILL)


def _media(op: str, args: dict[str, Any], *, folder: str = "", **_: object) -> dict[str, Any]:
    """Replaces media.run.call."""
    paths = {"source", "out_path", "generated", "artifact"} & args.keys()
    args = args | {name: str(Path(folder, args[name])) for name in paths}
    match op:
        case "inspect":
            data = Path(args["root"], args["path"]).read_bytes()
            return INFO | {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        case "prepare":
            shutil.copyfile(args["source"], args["out_path"])
            times = Path(f"{args['out_path']}.times")
            times.touch()
            shape = {"frames": 4, "width": 64, "height": 48, "pad": (0, 0, 0, 0), "fps_num": 30, "fps_den": 1}
            clock = {"times": str(times), "time_base": "1/30", "rate": "30/1", "constant": True}
            return Prepared(args["out_path"], copied=False, **shape, **clock).to_json()
        case "sound":
            return SoundTrack().to_json()
        case "finish":
            shutil.copyfile(args["generated"], args["out_path"])
            return Finished(args["out_path"], 4, 64, 48, remuxed=True, sound=False).to_json()
        case "score":
            Path(folder, args["about"]["sheet"]).write_bytes(b"sheet")
            return Scored(scores={"edge_f1": 0.9}, frames=4, sheet=True).to_json()
        case "check":
            data = Path(args["artifact"]).read_bytes()
            digest = hashlib.sha256(data).hexdigest()
            return Checked(4, 64, 48, "30/1", 4 / 30, "yuv420p", "h264", None, len(data), digest).to_json()
        case _:
            raise NotImplementedError(op)


def _begin() -> None:
    """Install it before `povwatch run` begins."""
    from povwatch.arrival import inspections  # noqa: PLC0415
    from povwatch.attempt import attempt as workpiece  # noqa: PLC0415
    from povwatch.core import retry  # noqa: PLC0415 - not in the test's own process
    from povwatch.workers import supervisor  # noqa: PLC0415

    inspections.call = workpiece.call = _media
    supervisor.backoff = retry.backoff = lambda _: PAUSE
