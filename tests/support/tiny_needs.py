"""Builds the tiny model on demand, and checks what its tests need: torch and diffusers, which script/test installs."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

from povwatch.engines.annotate import annotation

LIBRARIES = ("torch", "diffusers", "transformers", "safetensors")

MODEL = Path(__file__).with_name("tiny_model.py")

ANNOTATORS = Path(__file__).with_name("tiny_annotators.py")

ANNOTATION = Path(annotation.__file__)
"""It says where those models are looked for."""


def skip_without() -> None:
    """Skip the importing module if a library is missing.

    Raises:
        ModuleNotFoundError: one is missing, and POVWATCH_TEST_ALL is set.
    """
    lacking = [name for name in LIBRARIES if find_spec(name) is None]
    if not lacking:
        return
    reason = f"{lacking[0]} is not installed: script/bootstrap-diffusers does that"
    if os.environ.get("POVWATCH_TEST_ALL"):
        raise ModuleNotFoundError(reason)
    pytest.skip(reason, allow_module_level=True)


def tiny_model(cache: Path, script: Path = ANNOTATORS) -> Path:
    """A folder with `model`, the tiny model, and `annotators`, HF_HOME with the tiny models that compute controls.

    It is built in a separate process if it is missing, since not every test loads torch.

    Args:
        cache: a folder that outlives the tests; the model's folder in it is named by a hash of what decides the model.
        script: builds it in the folder that is its argument.
    """
    texts = [file.read_text() for file in (script, MODEL, ANNOTATION)]
    decisive = [*texts, *(f"{name} {version(name)}" for name in LIBRARIES)]
    folder = cache / hashlib.sha256("\n".join(decisive).encode()).hexdigest()[:16]
    if folder.exists():
        return folder
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of the suite may be building it
        if not folder.exists():
            made = Path(tempfile.mkdtemp(dir=cache))
            path = os.pathsep.join(str(place) for place in (script.parent, script.parents[1]))
            subprocess.run([sys.executable, script, made], check=True, env=os.environ | {"PYTHONPATH": path})
            made.rename(folder)
    return folder
