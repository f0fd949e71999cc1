"""The two packages that the claims of tests/upstream_real are held against: upstream's own, and its double."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support import upstream_tree
from support.cosmos_jobs import DOUBLES, ENGINE
from support.supervising import Loop

ROOT = Path(__file__).parents[2]

ENVIRONMENT = Path(os.environ.get("POVWATCH_UPSTREAM_ENV") or ROOT / ".venv-upstream")
"""What script/upstream-proof sets up."""

PYTHON = ENVIRONMENT / "bin/python"
CACHE = ENVIRONMENT / "hf"
COMPLETE = CACHE / "povwatch-complete"
"""There once every checkpoint is written."""

ASKED = "POVWATCH_UPSTREAM_PROOF"
"""Set by script/upstream-proof: what it needs has to be there."""

LONG = 600.0
"""Seconds: upstream imports for half a minute where nothing else runs."""


class Double:
    """tests/doubles, under the tests' own interpreter."""

    name = "double"
    model_size = (160, 96)
    """Size of a result that keeps the model's: the double leaves the pictures as large as they are."""

    def __init__(self) -> None:
        self.python: str | None = None
        self.env = {"PYTHONPATH": str(DOUBLES), "DOUBLE_STEP_SECONDS": "0.06"}


class Upstream:
    """Upstream's package at the pinned commit, with tiny random weights on a CPU."""

    name = "upstream"
    model_size = (32, 16)

    def __init__(self) -> None:
        lacking = missing()
        if lacking and os.environ.get(ASKED):
            pytest.fail(lacking, pytrace=False)
        if lacking or not os.environ.get(ASKED):
            pytest.skip(lacking or "script/upstream-proof runs it")
        self.python = str(PYTHON)
        self.env = {"HF_HOME": str(CACHE), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


PACKAGES = {"double": Double, "upstream": Upstream}


def missing() -> str:
    """What upstream's package lacks to run here; empty if it can."""
    if not upstream_tree.root():
        return upstream_tree.MISSING
    if not PYTHON.exists():
        return f"{PYTHON} is not there: script/upstream-proof sets it up"
    if not COMPLETE.exists():
        return f"{CACHE} was cut short: script/upstream-proof writes it"
    return ""


class Worker(Loop):
    """A supervised worker with the cosmos engine on one of the packages."""

    def __init__(self, package: Double | Upstream, folder: Path, *, engine: str = ENGINE, **config: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        settings = {"controls": ["edge"], "guardrails": False, "output_dir": str(folder / "load")} | config
        env = package.env | {"TMPDIR": str(folder)}
        python = {"python": package.python} if package.python else {}
        super().__init__(engine, config=settings, env=env, load=LONG, stall=LONG, heartbeat=120.0, **python)
        self.package = package


def head(tree: str) -> str:
    """The commit that a work tree is at."""
    done = subprocess.run(["git", "-C", tree, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip()
