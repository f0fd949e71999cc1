"""Loading takes a while, and says how far it is."""

import time


class Engine:
    def load(self, config, report):
        for percent in range(0, 100, 20):
            report("weights", percent / 100)
            time.sleep(0.1)
        return {"name": "slow_load"}

    def generate(self, job, context):
        raise AssertionError
