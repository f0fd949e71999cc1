"""A spec with the seed 666 kills its worker; any other is a copy."""

import os
import pathlib
import shutil
import signal


class Engine:
    def load(self, config, report):
        return {"name": "poison"}

    def generate(self, job, context):
        context.progress("working", step=1, steps=2)
        if job["spec"]["seed"] == 666:
            print("about to swallow it")
            os.kill(os.getpid(), signal.SIGKILL)
        path = pathlib.Path(context.workdir, "out.mp4")
        shutil.copyfile(job["video"], path)
        return {"path": str(path), "frames": job["frames"]}
