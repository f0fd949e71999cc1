"""The guardrail refuses the job."""

from povwatch.engines.port import EngineBlocked


class Engine:
    def load(self, config, report):
        return {"name": "blocked"}

    def generate(self, job, context):
        raise EngineBlocked("The prompt is not allowed.")
