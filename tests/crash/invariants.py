"""What has to hold at every moment, and what has to hold when all is done. Each violation is one sentence."""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING

import sound_journal
import toys
from world import SOMEBODY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from world import Folders

CLIP = toys.result("clip", "camera", "microphone")
USERS = {"notes.txt": b"mine", "a/old_aug.mp4": b"an old video of mine"}
"""What lies in outputs/ and is nobody's business."""


def visible(outputs: Path) -> dict[str, bytes]:
    """Every file that a user sees in outputs/."""
    return {
        str(file.relative_to(outputs)): file.read_bytes()
        for file in sorted(outputs.rglob("*"))
        if file.is_file() and ".povwatch" not in file.parts
    }


def at_any_moment(folders: Folders) -> Iterator[str]:
    """Nothing partial is visible, and no file of a user is touched."""
    shown = visible(folders.outputs)
    clips = {str(f.relative_to(folders.inputs)): f.read_bytes() for f in folders.inputs.rglob("*.mp4")}
    if clips != {"a.mp4": CLIP}:
        yield f"the clip was changed: {sorted(clips)}"
    for name, data in USERS.items():
        if shown.pop(name, None) != data:
            yield f"a user's file was changed: {name}"
    if folders.taken.exists() and shown.get("a/a_aug.mp4") != SOMEBODY:
        yield "somebody's file was overwritten: a/a_aug.mp4"
    for name, data in shown.items():
        if name.endswith(".mp4") and data != SOMEBODY:
            yield from _result(name, data)
        elif name.endswith(".json"):
            yield from _manifest(name, data, shown)
        elif data != SOMEBODY:
            yield f"what is that in outputs/: {name}"


def in_the_end(folders: Folders, before: dict[str, bytes], *, may_fail: bool = False) -> Iterator[str]:
    """Nothing is lost, nothing is there twice, and the journal is sound.

    Args:
        folders: of a daemon that has ended and had nothing left to do.
        before: what was visible at the crash.
        may_fail: whether there were so many faults that the job may have been given up.
    """
    yield from at_any_moment(folders)
    shown = visible(folders.outputs)
    for name, data in before.items():
        if shown.get(name) != data:
            yield f"what was visible is gone or changed: {name}"
    db = sqlite3.connect(f"file:{folders.state / 'journal.sqlite3'}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    try:
        yield from sound_journal.violations(db)
        jobs = db.execute("SELECT * FROM jobs").fetchall()
        results = [name for name, data in shown.items() if toys.whole(data)]
        if len(jobs) != 1:
            yield f"there are {len(jobs)} jobs"
        elif jobs[0]["state"] == "done":
            if len(results) != 1:
                yield f"published {len(results)} times: {results} ({jobs[0]['detail']})"
            if jobs[0]["output"] not in results or not shown.keys() >= {jobs[0]["output"][:-4] + ".json"}:
                yield f"the result is lost: {jobs[0]['output']} ({jobs[0]['detail']})"
        elif not (may_fail and jobs[0]["state"] == "failed" and jobs[0]["error"] and not results):
            yield f"the job is lost: {jobs[0]['state']}, {jobs[0]['error'] or jobs[0]['detail']}"
    finally:
        db.close()
    left = [str(file) for file in (folders.outputs / ".povwatch").rglob("*")]
    if left:
        yield f"left over: {left}"


def promised(folders: Folders) -> str | None:
    """The digest of the result that was promised, or published already."""
    file = folders.state / "journal.sqlite3"
    if not file.exists():
        return None
    db = sqlite3.connect(file)
    try:
        row = db.execute("SELECT promise FROM jobs WHERE promise IS NOT NULL").fetchone()
    except sqlite3.OperationalError:  # it was only just being made
        return None
    finally:
        db.close()
    return str(json.loads(row[0])["entries"][0]["sha256"]) if row else None


def is_kept(folders: Folders, promised: str | None) -> Iterator[str]:
    """What was promised is what is there in the end: inference did not run again."""
    if promised and promised not in map(toys.digest, visible(folders.outputs).values()):
        yield "a promised result was made a second time"


def _result(name: str, data: bytes) -> Iterator[str]:
    said = toys.whole(data)
    if said is None:
        yield f"a partial file is visible: {name}, {len(data)} bytes"
    elif (said["source"], said["sound"]) != (toys.digest(CLIP), toys.sound_of(CLIP)):
        yield f"a result is visible that was not made from the whole clip: {name}"


def _manifest(name: str, data: bytes, shown: dict[str, bytes]) -> Iterator[str]:
    try:
        output = json.loads(data)["output"]
    except ValueError:
        yield f"a partial manifest is visible: {name}"
        return
    described = shown.get(name.rpartition("/")[0] + "/" + output["file"], b"")
    if toys.digest(described) != output["sha256"]:
        yield f"a manifest describes what is not there: {name}"
