"""Imports packages that have the names of files beside the worker."""

import importlib.util
import os
import pathlib
import sys

import povwatch
import povwatch.engines.port


class Engine:
    def load(self, config, report):
        folder = pathlib.Path(povwatch.engines.port.__file__).resolve().parent
        return {
            "name": "shadows",
            "executable": sys.executable,
            "version": list(sys.version_info[:2]),
            "ours": [entry for entry in sys.path if pathlib.Path(entry).resolve() == folder],
            "found": [name for name in ("supervisor", "preview", "pydantic") if importlib.util.find_spec(name)],
            "povwatch": povwatch.__file__,
            "environment": dict(os.environ),
        }

    def generate(self, job, context):
        raise AssertionError
