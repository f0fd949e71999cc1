"""The artifact is not where it belongs."""


class Engine:
    def load(self, config, report):
        return {"name": "artifact_elsewhere"}

    def generate(self, job, context):
        return {"path": job["video"]}
