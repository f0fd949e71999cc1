"""A temper for each seed: good, slow, failing once or always, dying, hanging. The artifact says what was asked for."""

import os
import pathlib
import shutil
import signal
import time

from povwatch.engine.port import EngineBlocked

SLOW, RAISES_ONCE, DIES_ONCE, HANGS_ONCE, RAISES, DIES, BLOCKED = 100, 201, 202, 203, 301, 302, 303
"""Any other seed is a good one."""


class Engine:
    def load(self, config, report):
        report("nothing", 0.5)
        return {"name": "tempers", "version": "1", "controls": ["edge"], "max_frames": None, "real": False}

    def generate(self, job, context):
        seed = job["spec"]["seed"]
        context.progress("work", step=0, steps=10)
        self.misbehave(seed, pathlib.Path(context.checkpoint_dir, "been-here"))
        for step in range(10 if seed == SLOW else 1):
            context.progress("work", step=step, steps=10)
            context.raise_if_cancelled()
            time.sleep(0.15 if seed == SLOW else 0.01)
        path = pathlib.Path(context.workdir, "out.mp4")
        shutil.copyfile(job["video"], path)
        return {"path": str(path), "frames": job["frames"], "asked": {"seed": seed, "prompt": job["spec"]["prompt"]}}

    def misbehave(self, seed, mark):
        if seed == BLOCKED:
            raise EngineBlocked("The prompt is not allowed.")
        if seed in {RAISES_ONCE, DIES_ONCE, HANGS_ONCE}:
            if mark.exists():
                return
            mark.touch()
        if seed in {RAISES_ONCE, RAISES}:
            raise RuntimeError("a bad temper")
        if seed in {DIES_ONCE, DIES}:
            os.kill(os.getpid(), signal.SIGKILL)
        while seed == HANGS_ONCE:
            time.sleep(60)
