"""Speaks in characters that no UTF-8 file takes: raises them for the seed 666, else hands them over."""

import pathlib
import shutil


class Engine:
    def load(self, config, report):
        return {"name": "odd_words \udcff"}

    def generate(self, job, context):
        if job["spec"]["seed"] == 666:
            raise RuntimeError("no \udcff\x1b[31m\nsuch file")
        path = pathlib.Path(context.workdir, "out.mp4")
        shutil.copyfile(job["video"], path)
        return {"path": str(path), "frames": job["frames"], "note": "\udcff\x1b[31m"}
