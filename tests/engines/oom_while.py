"""Runs out of memory as long as the file TOY_OOM is there; notes in TOY_RUNS which process each run was in."""

import os
import pathlib
import shutil


class OutOfMemoryError(RuntimeError):
    pass


class Engine:
    def load(self, config, report):
        return {"name": "oom_while", "version": "1", "controls": ["edge"], "max_frames": None, "real": False}

    def generate(self, job, context):
        with pathlib.Path(os.environ["TOY_RUNS"]).open("a") as file:
            file.write(f"{os.getpid()}\n")
        if pathlib.Path(os.environ["TOY_OOM"]).exists():
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 11.60 GiB.")
        path = pathlib.Path(context.workdir, "out.mp4")
        shutil.copyfile(job["video"], path)
        return {"path": str(path), "frames": job["frames"]}
