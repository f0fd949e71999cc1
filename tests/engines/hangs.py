"""Generating never ends, beats on, and does not listen to cancellations."""

import time


class Engine:
    def load(self, config, report):
        return {"name": "hangs"}

    def generate(self, job, context):
        context.progress("denoise", chunk=1, chunks=3, step=7, steps=35)
        while True:
            time.sleep(60)
