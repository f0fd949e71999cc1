"""Loads when the file TOY_LOAD is there, generates when the file TOY_GO is; notes every run in TOY_RUNS."""

import os
import pathlib
import shutil
import time


class Engine:
    def load(self, config, report):
        self.go, self.runs = (pathlib.Path(os.environ[name]) for name in ("TOY_GO", "TOY_RUNS"))
        load = pathlib.Path(os.environ.get("TOY_LOAD", "/"))
        while not load.exists():
            report("waiting", 0.5)
            time.sleep(0.02)
        return {"name": "waits", "version": "1", "controls": ["edge"], "max_frames": None, "real": False}

    def generate(self, job, context):
        with self.runs.open("a") as file:
            file.write(f"{job['id']}\n")
        context.progress("waiting", step=1, steps=4)
        while not self.go.exists():
            context.raise_if_cancelled()
            time.sleep(0.02)
        path = pathlib.Path(context.workdir, "out.mp4")
        shutil.copyfile(job["video"], path)
        return {"path": str(path), "frames": job["frames"]}
