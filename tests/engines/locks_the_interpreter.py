"""Hangs in C code with the interpreter locked: no thread of ours runs any more."""

import ctypes


class Engine:
    def load(self, config, report):
        return {"name": "locks_the_interpreter"}

    def generate(self, job, context):
        context.progress("in C", step=0, steps=1)
        ctypes.PyDLL(None).sleep(600)
