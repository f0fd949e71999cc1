"""Hands the working copy over after TOY_SECONDS at most; notes each run's folder in TOY_RUNS, and its own pid."""

import os
import pathlib
import random
import shutil
import time


class Engine:
    def load(self, config, report):
        return {"name": "short_jobs", "version": "1", "controls": ["edge"], "max_frames": None, "real": False}

    def generate(self, job, context):
        workdir = pathlib.Path(context.workdir)
        with pathlib.Path(os.environ["TOY_RUNS"]).open("a") as file:
            file.write(f"{workdir.name} {os.getpid()}\n")
        end = time.monotonic() + float(os.environ["TOY_SECONDS"]) * random.uniform(0.3, 1)  # noqa: S311 - no secret
        while time.monotonic() < end:
            context.raise_if_cancelled()
            context.progress("working")
            time.sleep(0.01)
        path = workdir / "out.mp4"
        shutil.copyfile(job["video"], path)
        return {"path": str(path), "frames": job["frames"]}
