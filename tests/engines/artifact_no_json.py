"""The artifact holds what JSON does not."""

import pathlib


class Engine:
    def load(self, config, report):
        return {"name": "artifact_no_json"}

    def generate(self, job, context):
        path = pathlib.Path(context.workdir, "out.mp4")
        path.write_bytes(b"x")
        return {"path": str(path), "also": path}
