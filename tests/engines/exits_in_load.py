"""Loading calls sys.exit."""

import sys


class Engine:
    def load(self, config, report):
        sys.exit(4)

    def generate(self, job, context):
        raise AssertionError
