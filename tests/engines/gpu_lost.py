"""The GPU is gone."""

from povwatch.engines.port import EngineFailure


class Engine:
    def load(self, config, report):
        return {"name": "gpu_lost"}

    def generate(self, job, context):
        raise EngineFailure("gpu-lost", "GPU 0 does not answer.")
