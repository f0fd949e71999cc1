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
NOT_HERE = 77

ALL = bool(os.environ.get("POVWATCH_TEST_ALL"))

SHARE = 1 if ALL else 10
"""Continuous integration tries all the points that a test names; a developer's run a part of them."""

SHARDS = 2 if ALL else 1
"""Each shard first counts the calls of whole runs, which costs as much as thirty points."""

more = pytest.mark.skipif(not ALL, reason="one of a larger matrix: set POVWATCH_TEST_ALL=1 to run it")

pytestmark = pytest.mark.timeout(900)  # hundreds of points, beside three other tests


@pytest.fixture(scope="module")
def crash(tmp_path_factory):
    """Runs the harness; what it found."""
    if not shutil.which("cc"):
        absent("there is no C compiler (cc) to build tests/crash/intercept.c with")
    built = tmp_path_factory.mktemp("intercept")

    def run(layer, *args, mutation=""):
        env = os.environ | {"CRASH_BUILD": str(built), "CRASH_MUTATION": mutation}
        command = [sys.executable, str(HARNESS), layer, *map(str, args)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode == NOT_HERE:
            absent(done.stderr.strip(), here=os.geteuid() == 0)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def absent(what, *, here=True):
    """Skip; where all has to be there, fail.

    Args:
        what: is missing.
        here: whether it could be here at all: file systems are root's to mount.
    """
    if here and ALL:
        pytest.fail(what)
    pytest.skip(what)


def told(found):
    return [f"{at['point']}: {'; '.join(at['violations'])}" for at in found["failures"]]


def sound(found, points):
    assert not told(found), "\n".join(told(found))
    assert found["points"] == points


def sharded(crash, layer, points, shard):
    points = points // SHARE // SHARDS
    sound(crash(layer, "--most", points, "--shard", f"{shard}/{SHARDS}"), points)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_kill_at_any_call(crash, shard):
    """A kill at any call loses nothing, publishes nothing twice, and nothing in part."""
    sharded(crash, "kill", 360, shard)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_power_cut_at_any_call(crash, shard):
    """A power cut at any call loses nothing that was promised."""
    sharded(crash, "cut", 270, shard)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_refusal_at_any_call(crash, shard):
    """What the machine refuses at any call charges no clip, and is waited for."""
    sharded(crash, "errno", 150, shard)


def test_journal_lost_at_any_call(crash):
    """A journal that is lost at any call is made again, and nothing is published twice."""
    sound(crash("lost", "--most", 75 // SHARE), 75 // SHARE)


@pytest.mark.parametrize("layer", ["again", "cut-again"])
def test_crash_in_a_recovery(crash, layer):
    """A kill or a power cut in the middle of a recovery loses nothing."""
    sound(crash(layer, "--most", 40 // SHARE), 40 // SHARE)


@pytest.mark.parametrize(
    ("mutation", "layer", "scenario", "said"),
    [
        ("file-fsync", "cut", "plain", "a partial file is visible"),
        pytest.param("folder-fsync", "cut", "plain", "the result is lost", marks=more),
        pytest.param("copy-fsync", "cut", "plain", "not made from the whole clip", marks=more),
        ("compare-and-set", "kill", "late", "no crash"),
        ("thread", "kill", "taken", "The journal belongs to MainThread, and background_"),
        pytest.param("noreplace", "kill", "taken", "somebody's file was overwritten", marks=more),
        pytest.param("rooms", "lost", "plain", "a promised result was made a second time", marks=more),
    ],
)
def test_harness_sees_a_missing_rule(crash, mutation, layer, scenario, said):
    """The harness finds a violation once a rule is taken out of the daemon."""
    found = crash(layer, "--scenarios", scenario, "--most", 60, "--stop-after", 1, mutation=mutation)
    assert any(said in line for line in told(found)), found
