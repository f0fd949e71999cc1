"""The first attempt fails, the second finds what the first left behind."""

import pathlib


class Engine:
    def load(self, config, report):
        return {"name": "fails_once"}

    def generate(self, job, context):
        marker = pathlib.Path(context.checkpoint_dir, "chunk-0")
        if not marker.exists():
            marker.write_bytes(b"latents")
            raise RuntimeError("the first time")
        path = pathlib.Path(context.workdir, "out.mp4")
        path.write_bytes(pathlib.Path(job["video"]).read_bytes())
        return {"path": str(path), "frames": job["frames"]}
