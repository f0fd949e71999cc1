"""The kernel's out-of-memory killer takes the worker in the middle of a job."""

import os
import signal


class Engine:
    def load(self, config, report):
        return {"name": "killed_in_generate"}

    def generate(self, job, context):
        context.progress("dying", step=1, steps=2)
        os.kill(os.getpid(), signal.SIGKILL)
