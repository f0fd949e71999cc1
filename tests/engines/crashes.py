"""A library crashes: SIGSEGV in C code."""

import faulthandler


class Engine:
    def load(self, config, report):
        return {"name": "crashes"}

    def generate(self, job, context):
        print("about to read address zero")
        faulthandler._sigsegv()
