"""A temper for each seed: good, slow, failing once or always, dying, hanging. The artifact says what was asked for.

Where TOY_GENERATES names a file it gets a line as a job begins and one as it is made; a lock beside it says whether
another worker has the same job.
"""

import fcntl
import json
import os
import pathlib
import shutil
import signal
import time

from povwatch.engines.port import EngineBlocked

SLOW, RAISES_ONCE, DIES_ONCE, HANGS_ONCE, RAISES, DIES, BLOCKED = 100, 201, 202, 203, 301, 302, 303
"""Any other seed is a good one."""


class Engine:
    def load(self, config, report):
        report("nothing", 0.5)
        return {"name": "tempers", "version": "1", "controls": ["edge"], "max_frames": None, "real": False}

    def generate(self, job, context):
        if "TOY_GENERATES" not in os.environ:
            return self.work(job, context)
        store = pathlib.Path(os.environ["TOY_GENERATES"])
        with store.with_suffix(f".{job['id']}.lock").open("w") as lock:
            note(store, "begun", job, context, alone=locked(lock), spec=job["spec"])
            artifact = self.work(job, context)
            note(store, "made", job, context)
        return artifact

    def work(self, job, context):
        seed = job["spec"]["seed"]
        context.progress("work", step=0, steps=10)
        self.misbehave(seed, pathlib.Path(context.checkpoint_dir, "been-here"))
        for step in range(10 if seed == SLOW else 1):
            context.progress("work", step=step, steps=10)
            context.raise_if_cancelled()
            time.sleep(0.15 if seed == SLOW else 0.3)  # two workers are to be busy at once
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


def note(store, what, job, context, **more):
    run = pathlib.Path(context.workdir).name.rpartition(".")[2]
    about = {"what": what, "job": job["id"], "run": run, "at": time.monotonic(), "worker": os.getpid()}
    with store.open("a") as file:
        file.write(json.dumps(about | more) + "\n")


def locked(lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
