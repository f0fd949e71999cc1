"""The cosmos engine, which is told to load several times in one process: importing upstream is what takes long.

`in_turn` lists what to try before the load that has to succeed: `config`, and `instead`: a file, and what stands in its
place meanwhile (nothing, if it is to be missing). The capabilities have `told`: kind, message and advice of each.
"""

import contextlib
import shutil
from pathlib import Path

from povwatch.engines.cosmos import CosmosEngine
from povwatch.engines.port import EngineFailure


class Engine(CosmosEngine):
    def load(self, config, report):
        told = []
        for one in config.pop("in_turn"):
            with _changed(*one["instead"]):
                try:
                    super().load(config | one["config"], report)
                except EngineFailure as error:
                    told.append([error.kind, error.message, error.todo])
                else:
                    told.append(["", "it loaded", ""])
        return super().load(config, report) | {"told": told}


@contextlib.contextmanager
def _changed(file="", instead=""):
    if file:
        Path(file).rename(f"{file}.kept")
    if instead:
        shutil.copyfile(instead, file)
    try:
        yield
    finally:
        if file:
            Path(f"{file}.kept").replace(file)
