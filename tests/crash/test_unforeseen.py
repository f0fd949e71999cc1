"""What nobody foresaw in any step of a clip costs that clip at most, and the daemon lives. See unforeseen.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("unforeseen.py")

ALL = bool(os.environ.get("POVWATCH_TEST_ALL"))

SHARE = 1 if ALL else 16
"""Continuous integration tries all the steps, a developer's run a part of them."""

ONCE, STARTS = (4, 2) if ALL else (1, 1)
"""Processes that share the steps."""

pytestmark = pytest.mark.timeout(900)


def tried(what, part, parts):
    command = [sys.executable, str(PROGRAM), what, "--shard", f"{part}/{parts * SHARE}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["failures"] == {}
    assert found["points"] > 1


@pytest.mark.parametrize("part", range(ONCE))
def test_every_step_raises_once(part):
    """An exception in any step of a healthy run costs its clip at most one try, and the daemon lives."""
    tried("once", part, ONCE)


@pytest.mark.parametrize("part", range(STARTS))
def test_every_recovery_step_raises(part):
    """A job whose recovery raises at each start fails at the third, and the daemon lives."""
    tried("starts", part, STARTS)
