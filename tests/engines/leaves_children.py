"""Starts a program that outlives it and holds its output open, and dies."""

import os
import subprocess


class Engine:
    def load(self, config, report):
        return {"name": "leaves_children"}

    def generate(self, job, context):
        child = subprocess.Popen(["sleep", "600"])
        print("child", child.pid)
        os._exit(9)
