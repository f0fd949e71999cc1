"""Temporary folders of processes that may be killed: none stays for good, and none goes while it is needed."""

from __future__ import annotations

import fcntl
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from povwatch.engines.held_folder import HeldFolder, sweep

HOLDS = """
import sys
from pathlib import Path
from povwatch.engines.held_folder import HeldFolder
held = HeldFolder()
Path(held.name, "words").mkdir()
Path(held.name, "words/list.txt").write_text("a word")
print(held.name, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    yield tmp_path
    tempfile.tempdir = None


def test_killed_process_leaves_no_folder(temporary):
    """A folder stays while its process lives, and goes once it was killed."""
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        held = Path(process.stdout.readline().decode().strip())
        sweep()
        assert (held / "words/list.txt").is_file()
        process.kill()
        process.wait()
    assert held.is_dir()
    made = HeldFolder()
    assert list(temporary.iterdir()) == [Path(made.name)]
    made.delete()
    assert list(temporary.iterdir()) == []


def test_what_is_not_ours_stays(temporary):
    """Nothing else is deleted: other names, a file, and what a link of such a name leads to."""
    (temporary / "somebody").mkdir()
    (temporary / "somebody/file").touch()
    (temporary / "povwatch-guardrail-link").symlink_to("somebody")
    (temporary / "povwatch-guardrail-file").touch()
    if os.geteuid() == 0:
        (temporary / "povwatch-guardrail-other").mkdir()
        os.chown(temporary / "povwatch-guardrail-other", 65534, 65534)
    before = sorted(temporary.rglob("*"))
    sweep()
    assert sorted(temporary.rglob("*")) == before


@pytest.mark.parametrize("when", ["opened", "locked"])
def test_deleted_before_it_was_held(temporary, monkeypatch, when):
    """If another process takes a new folder for one that was left, another one is made."""
    make, lock, swept = tempfile.mkdtemp, fcntl.flock, []

    def once(call, *given, **named):
        found = call(*given, **named)
        if not swept:
            swept.append(found)
            sweep()
        return found

    def locked(fd, how):
        if how == fcntl.LOCK_EX and not swept:
            swept.append(fd)
            sweep()
        lock(fd, how)

    if when == "opened":
        monkeypatch.setattr(tempfile, "mkdtemp", functools.partial(once, make))
    else:
        monkeypatch.setattr(fcntl, "flock", locked)
    held = HeldFolder()
    assert len(swept) == 1
    assert list(temporary.iterdir()) == [Path(held.name)]
    held.delete()
