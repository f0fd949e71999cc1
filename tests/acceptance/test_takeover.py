"""Folders that an earlier povwatch left when it was killed are taken over: no job is lost, and none runs twice.

tests/support/takeover.py says what is in them and has made them.
"""

from __future__ import annotations

import json
import os
import sqlite3
import struct
import tarfile
from pathlib import Path

import pytest
from support.daemons import toy
from support.takeover import HOOK, replace_paths
from support.waiting import Waiting, sound

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "takeover"

PAIR = ["a/a_preview.json", "a/a_preview.mp4"]

NEW, RESUMED = "1 new", "1 resumed"

RUNS = {
    "arriving": [NEW],
    "grace": [NEW],
    "held": [NEW],
    "queued": [NEW],
    "retry": [NEW, RESUMED],
    "running": [NEW, RESUMED],
    "checking": [NEW],
    "sealed": [NEW],
    "publishing": [NEW],
    "half": [NEW],
    "published": [NEW],
    "hook_before": [NEW],
    "hook_after": [NEW],
}
"""State to every time that the engine was asked for the clip, before the folder was taken over and after it."""

HOOK_RUNS = {"hook_before": 2, "hook_after": 2}
"""A hook that a crash cut short runs again."""

FOLDERS = sorted(folder.name for folder in DATA.iterdir() if folder.is_dir())


def unpacked(version: str, state: str, folder: Path) -> None:
    with tarfile.open(DATA / version / f"{state}.tar.xz") as archive:
        archive.extractall(folder, filter="tar")
    replace_paths(folder, {"/pov": str(folder), "/checkout": str(ROOT)})
    with sqlite3.connect(folder / ".povwatch" / "journal.sqlite3") as db:
        for job, path, base, spec in db.execute("SELECT id, path, base, spec_stat FROM jobs").fetchall():
            db.execute("UPDATE jobs SET source_stat = ? WHERE id = ?", (as_of_old(folder, path), job))
            if spec is not None:
                db.execute("UPDATE jobs SET spec_stat = ? WHERE id = ?", (as_of_old(folder, base + b".json"), job))
    db.close()


def as_of_old(folder: Path, path: bytes) -> bytes:
    """What the journal of such a folder knows of a file in inputs/, had the folder not been packed since."""
    status = (folder / "inputs" / os.fsdecode(path)).stat()
    numbers = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_blocks
    return struct.pack("<QQqqqq", *numbers)


def ends(here: Waiting) -> dict[str, str]:
    with sqlite3.connect(f"file:{here.state / 'journal.sqlite3'}?mode=ro", uri=True) as db:
        return {path.decode(): state for path, state in db.execute("SELECT path, state FROM jobs ORDER BY id")}


@pytest.mark.parametrize("version", FOLDERS)
@pytest.mark.parametrize("state", RUNS)
def test_what_was_under_way_comes_out_once(tmp_path, version, state) -> None:
    """A folder of an earlier version, killed in any state, is taken over: its clip comes out once."""
    folder = tmp_path / "pov"
    folder.mkdir()
    unpacked(version, state, folder)
    hooks = []
    if state in HOOK_RUNS:
        when = state.removeprefix("hook_")
        hooks = [{"name": {"before": "first", "after": "last"}[when], "when": when, "argv": HOOK}]
    with Waiting(folder, engine={"kind": toy("keeps_chunks")}, hooks=hooks) as here:
        here.let_go()
        (folder / "let.hook").touch()
        here.start()
        if state == "held":  # an hour of grace is long over by now: that one goes on by itself
            here.until(lambda: here.peek("a.mp4")["state"] == "grace")
            assert here.ask("go", "a.mp4").done
        here.until(lambda: ends(here) == {"a.mp4": "done"})
        here.stop()
        assert here.published() == PAIR
        assert (folder / "TOY_RUNS").read_text().splitlines() == RUNS[state]
        if state in HOOK_RUNS:
            assert (folder / "hook.runs").read_text().splitlines() == ["a"] * HOOK_RUNS[state]
        if state == "grace":
            assert json.loads((here.outputs / PAIR[0]).read_text())["spec"]["seed"] == 77
        sound(here)


@pytest.mark.parametrize("version", FOLDERS)
def test_what_had_ended_stays_as_it_is(tmp_path, version) -> None:
    """What had ended in a folder of an earlier version does not run again."""
    folder = tmp_path / "pov"
    folder.mkdir()
    unpacked(version, "ended", folder)
    was = sorted(path.name for path in (folder / "inputs").iterdir())
    with Waiting(folder, engine={"kind": toy("keeps_chunks")}) as here:
        known = ends(here)
        assert set(known.values()) == {"done", "failed", "blocked", "rejected", "cancelled"}
        published = here.published()
        here.let_go()
        assert here.once().returncode == 1, "what failed is not done"
        assert ends(here) == known
        assert here.published() == published
        assert sorted(path.name for path in here.inputs.iterdir()) == was
        assert not (folder / "TOY_RUNS").exists()
        sound(here)
