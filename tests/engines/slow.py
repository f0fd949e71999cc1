"""Works in steps of config["step"] seconds, and lets go when it is asked to."""

import pathlib
import time


class Engine:
    def load(self, config, report):
        self.step = config.get("step", 0.02)
        self.steps = config.get("steps", 20)
        return {"name": "slow"}

    def generate(self, job, context):
        for step in range(self.steps):
            context.progress("denoise", step=step, steps=self.steps)
            context.raise_if_cancelled()
            time.sleep(self.step)
        path = pathlib.Path(context.workdir, "out.mp4")
        path.write_bytes(pathlib.Path(job["video"]).read_bytes())
        return {"path": str(path), "frames": job["frames"]}
