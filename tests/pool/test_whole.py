"""The whole of it: daemon, `povwatch pool`, a Ray cluster. Whatever is lost, each clip is done once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import closing

from support import many_workers
from support.pooled import Pooled
from support.ray_cluster import Pool, actors
from support.waiting import sound

from povwatch.journal import open_reader

from .conftest import nothing_left

CLIPS = [f"{letter}.mp4" for letter in "abcdefghijklmno"]
"""Three for each loss."""

SILENCE = 30
"""As in production."""


def test_each_clip_once_under_losses(tmp_path, cluster, node):
    """A worker, an actor, a node, the bridge and the daemon die one after the other while clips are done.

    Files are streamed; where they are shared, a machine is lost in test_several_machines.py.
    """
    another = node()
    runs = cluster.switches / "runs"
    runs.write_text("")
    pool = {"address": cluster.address, "max": 3, "files": "stream"}
    with Pooled(tmp_path / "pov", engine="short_jobs", pool=pool, disk={"reserve": "1MB"}) as here:
        here.before = many_workers._begin  # everybody may be silent as long as in production
        here.start()
        config, log = here.folder / "config.toml", here.folder / "pool.log"
        clips = iter(CLIPS)

        def under_way():
            """Put three clips into inputs/, and wait until three more are being generated, or were."""
            begun = len(runs.read_text().splitlines())
            here.clips(*(next(clips) for _ in range(3)))
            here.until(lambda: len(runs.read_text().splitlines()) >= begun + 3)

        with closing(Pool(config, log, silence=SILENCE)) as bridge:
            under_way()
            os.kill(int(runs.read_text().split()[-1]), signal.SIGKILL)  # who has begun last
            here.wait_for("worker-died")
            under_way()
            os.kill(actors(cluster.switches)[0], signal.SIGKILL)
            under_way()
            cluster.remove(another, killed=True)
            under_way()
            bridge.kill()
            here.wait_for("bridge-gone")
        with closing(Pool(config, log, silence=SILENCE)):
            under_way()
            here.kill()
            here.start()
            here.wait_for("remote-taken-over")
            for clip in CLIPS:
                here.wait_for("done", clip=clip)
            once(here)
            assert here.stop() == 0
    nothing_left(cluster)


def once(here):
    """Every clip was generated and published once."""
    with open_reader(here.state) as reader:
        jobs = list(reader.jobs())
        assert sorted(os.fsdecode(job.path) for job in jobs) == CLIPS
        for job in jobs:
            happened = Counter(event.event for event in reader.events(job.id))
            assert (happened["generated"], happened["done"]) == (1, 1), job
    sound(here)
