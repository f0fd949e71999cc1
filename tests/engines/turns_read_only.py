"""Generates once, and then TOY_DISK turns read-only: what comes after generating meets it."""

import os
import pathlib
import shutil
import subprocess


class Engine:
    def load(self, config, report):
        return {"name": "turns_read_only", "version": "1", "controls": ["edge"], "max_frames": None, "real": False}

    def generate(self, job, context):
        runs = pathlib.Path(os.environ["TOY_RUNS"])
        with runs.open("a") as file:
            file.write(f"{job['id']}\n")
        path = pathlib.Path(context.workdir, "out.mp4")
        shutil.copyfile(job["video"], path)
        if len(runs.read_text().split()) == 1:
            subprocess.run(["mount", "-o", "remount,ro", os.environ["TOY_DISK"]], check=True)
        return {"path": str(path), "frames": job["frames"]}
