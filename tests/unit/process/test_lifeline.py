"""A child dies with its parent, even while it can do nothing itself."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

CHILD = """
import sys, time
from povwatch.process.lifeline import die_with_parent
die_with_parent(int(sys.argv[1]))
print("here", flush=True)
time.sleep(600)
"""

PARENT = """
import os, subprocess, sys
with subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE) as child:
    child.stdout.readline()
    print(child.pid, flush=True)
    sys.stdin.read()
"""


def test_stopped_child_dies_with_its_parent():
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD], stdin=pipe, stdout=pipe) as parent:
        child = int(parent.stdout.readline())
        os.kill(child, signal.SIGSTOP)
        parent.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}/status").exists() and "zombie" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_child_of_a_dead_parent_ends():
    """A child whose parent is gone before it asks ends at once."""
    somebody_else = str(os.getpid() + 1)
    done = subprocess.run([sys.executable, "-c", CHILD, somebody_else], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
