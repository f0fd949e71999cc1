"""Says what somebody else wrote: in its error, in its advice, and on its output."""

import os

from povwatch.engines.port import EngineFailure


class Engine:
    def load(self, config, report):
        return {"name": "repeats_the_prompt", "controls": ["edge"], "real": False, **config}

    def generate(self, job, context):
        prompt = job["spec"]["prompt"]
        os.write(1, prompt.encode("utf-8", "surrogateescape"))
        context.progress(prompt)
        raise EngineFailure("invalid", prompt, prompt)
