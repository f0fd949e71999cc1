"""Generating calls sys.exit, as upstream does where it should raise."""

import sys


class Engine:
    def load(self, config, report):
        return {"name": "exits"}

    def generate(self, job, context):
        sys.exit(1)
