"""Half of the artifact is missing, and the engine does not know."""

import pathlib


class Engine:
    def load(self, config, report):
        return {"name": "truncated_artifact"}

    def generate(self, job, context):
        whole = pathlib.Path(job["video"]).read_bytes()
        path = pathlib.Path(context.workdir, "out.mp4")
        path.write_bytes(whole[: len(whole) // 2])
        return {"path": str(path), "frames": job["frames"]}
