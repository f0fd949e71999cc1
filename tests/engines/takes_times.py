"""Generates well, and takes the file of the clip's times away: the result cannot be finished without it."""

import pathlib
import shutil


class Engine:
    def load(self, config, report):
        return {"name": "takes_times", "version": "1", "controls": ["edge"], "max_frames": None, "real": False}

    def generate(self, job, context):
        path = pathlib.Path(context.workdir, "out.mp4")
        shutil.copyfile(job["video"], path)
        for times in pathlib.Path(job["video"]).parent.glob("*.times"):
            times.rename(times.with_suffix(".taken"))
        for sound in pathlib.Path(job["video"]).parent.glob("sound.mp4"):
            sound.unlink()
        return {"path": str(path), "frames": job["frames"]}
