"""Nothing lost, nothing twice, nothing partial, wherever the process dies. See harness.py; script/crash tries more.

The points of a test are spread evenly over all that there are, and each shard takes others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).with_name("harness.py")
SHARDS = 2


@pytest.fixture(scope="module")
def crash(tmp_path_factory):
    """Runs the harness; what it found."""
    if not shutil.which("cc"):
        pytest.skip("there is no C compiler (cc) to build tests/crash/intercept.c with")
    built = tmp_path_factory.mktemp("intercept")

    def run(layer, *args, mutation=""):
        env = os.environ | {"CRASH_BUILD": str(built), "CRASH_MUTATION": mutation}
        command = [sys.executable, str(HARNESS), layer, *map(str, args)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def sound(found, points):
    told = [f"{at['point']}: {'; '.join(at['violations'])}" for at in found["failures"]]
    assert not told, "\n".join(told)
    assert found["points"] == points


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_kill_at_any_call_loses_nothing(crash, shard):
    sound(crash("kill", "--most", 510, "--shard", f"{shard}/{SHARDS}"), 510)
