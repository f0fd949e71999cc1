"""Sleeps for TOY_SECONDS with a step each second, and hands the working copy over."""

import os
import pathlib
import shutil
import time


class Engine:
    def load(self, config, report):
        return {"name": "sleeps", "version": "1", "controls": ["edge"], "max_frames": None, "real": False}

    def generate(self, job, context):
        end = time.monotonic() + float(os.environ["TOY_SECONDS"])
        while (left := end - time.monotonic()) > 0:
            context.raise_if_cancelled()
            context.progress("denoise")
            time.sleep(min(left, 1.0))
        path = pathlib.Path(context.workdir, "out.mp4")
        shutil.copyfile(job["video"], path)
        return {"path": str(path), "frames": job["frames"]}
