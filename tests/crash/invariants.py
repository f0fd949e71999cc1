"""What has to hold at every moment, and what has to hold when all is done. Each violation is one sentence."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import toy_hooks
import toys
from support import sound_journal
from world import LOOKS, SEEDS, SOMEBODY

from povwatch.core.changes import DoneAlready

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from world import Folders

CLIP = toys.clip()

PAGE = {
    "index.html": rb"<!doctype html>.*</html>\n?",
    "index_files/data.js": rb"/\* povwatch .* \*/\npovwatch\.data\((.*)\);\n",
    "index_files/progress.js": rb"/\* povwatch .* \*/\npovwatch\.progress\((.*)\);\n",
    "index_files/folder.txt": rb"povwatch .*\nfolder: [0-9a-f]{16}\n",
    "index_files/page.css": rb"/\* povwatch.*\n",
    "index_files/page.js": rb"/\* povwatch.*\}\)\(\);\n",
}
"""The files of the page, whole."""

ALREADY = DoneAlready.sets["detail"]
"""What the journal says of a job that found its result published."""

USERS = {"notes.txt": b"mine", "a/old_aug.mp4": b"an old video of mine"}
"""What lies in outputs/ and is nobody's business."""


def visible(outputs: Path) -> dict[str, bytes]:
    """Every file that a user sees in outputs/, but those of the page, which change."""
    return {name: data for name, data in _files(outputs) if not _is_of_the_page(name)}


def _files(outputs: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(outputs.rglob("*")):
        if file.is_file() and ".povwatch" not in file.parts:
            yield str(file.relative_to(outputs)), file.read_bytes()


def _is_of_the_page(name: str) -> bool:
    return name.split("/", maxsplit=1)[0] in {"index.html", ".povwatch-index.html", "index_files"}


def at_any_moment(folders: Folders) -> Iterator[str]:
    """Nothing partial is visible, and no file of a user is touched."""
    shown = visible(folders.outputs)
    clips = {str(f.relative_to(folders.inputs)): f.read_bytes() for f in folders.inputs.rglob("*.mp4")}
    if clips != {"a.mp4": CLIP}:
        yield f"the clip was changed: {sorted(clips)}"
    for file in folders.inputs.glob("*.json"):
        yield from _whole_json(file)
    for name, data in USERS.items():
        if shown.pop(name, None) != data:
            yield f"a user's file was changed: {name}"
    if folders.taken.exists() and shown.get("a/a_aug.mp4") != SOMEBODY:
        yield "somebody's file was overwritten: a/a_aug.mp4"
    for name, data in shown.items():
        yield from _of_ours(name, data, shown)
    for name, data in _files(folders.outputs):
        after_a_cut = not data.strip(b"\0")  # it is written anew, not synced
        if name in PAGE and not after_a_cut and re.fullmatch(PAGE[name], data, re.DOTALL) is None:
            yield f"a file of the page is there in part: {name}, {len(data)} bytes"


def page_is_right(folders: Folders) -> Iterator[str]:
    """The page shows each job as the journal has it, and nothing else of the page is left.

    Args:
        folders: of a daemon that has ended and had nothing left to do.
    """
    found = {name: data for name, data in _files(folders.outputs) if _is_of_the_page(name)}
    for name in sorted({*PAGE, *found}):
        if name in PAGE and not found.get(name, b"").strip(b"\0"):
            yield f"the page lacks {name}"
        if ".povwatch" in name and "/pictures/" not in name:  # a picture that --once does not wait for goes on later
            yield f"the page has left {name}"
    if not found.get("index_files/data.js"):
        return
    data = json.loads(re.fullmatch(PAGE["index_files/data.js"], found["index_files/data.js"], re.DOTALL)[1])
    if f"folder: {data['folder']}\n".encode() not in found["index_files/folder.txt"]:
        yield "the page does not know its folder"
    with closing(sqlite3.connect(f"file:{folders.state / 'journal.sqlite3'}?mode=ro", uri=True)) as db:
        newest = "SELECT look, state FROM jobs WHERE id IN (SELECT max(id) FROM jobs GROUP BY path, look)"
        jobs = dict(db.execute(newest).fetchall())
    if (said := {job.get("look", ""): job["state"] for job in data["jobs"]}) != jobs:
        yield f"the page says {said}, and the journal {jobs}"


def in_the_end(folders: Folders, scenario: str, before: dict[str, bytes]) -> Iterator[str]:
    """Nothing is lost, nothing is there twice, and the journal is sound.

    Args:
        folders: of a daemon that has ended and had nothing left to do.
        scenario: what it was.
        before: what was visible at the crash.
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
        yield from toy_hooks.history(db)
        jobs = db.execute("SELECT * FROM jobs").fetchall()
        results = [name for name, data in shown.items() if toys.whole(data)]
        looks = _looks(folders)
        ran = [job for job in jobs if job["detail"] != ALREADY]  # after a lost journal the clip may arrive once more
        if sorted(job["look"] for job in ran) == sorted(looks):
            for job in ran:
                own = [name for name in results if _look_of(name) == job["look"]]
                yield from _came_out(job, own, shown, may_fail=scenario == "refused")
            yield from _as_hooks_have_it(folders, scenario, ran[0], results)
            if scenario == "seeds":
                yield from _each_seed_once(db, ran[0])
        else:
            yield f"there are jobs for the looks {[job['look'] for job in jobs]}, and the clip has {looks}"
    finally:
        db.close()
    beside = {"a.mp4", *_looks(folders).values()} | ({"a.error.txt"} if scenario == "refused" else set())
    yield from page_is_right(folders)
    left = [str(file) for file in (folders.outputs / ".povwatch").rglob("*")]
    left += [str(file) for file in folders.inputs.rglob("*") if file.name not in beside]
    if left:
        yield f"left over: {left}"


def _each_seed_once(db: sqlite3.Connection, job: sqlite3.Row) -> Iterator[str]:
    """No seed was generated twice or lost, and the first of equal ones is published."""
    told = db.execute("SELECT event, data FROM job_events WHERE job = ? ORDER BY id", (job["id"],)).fetchall()
    if any(row["event"] == "rebuilt" for row in told):
        return  # the journal was lost, and with it what was tried
    many = sum(row["event"] == "generated" for row in told)
    if any(row["event"] in {"retry", "released"} for row in told):  # a disk that cannot read a result: it is made again
        many = min(many, SEEDS)
    over = json.loads(job["tries"])["over"]
    if (many, [one["seed"] for one in over]) != (SEEDS, list(range(SEEDS))):
        yield f"{many} results were generated, and these seeds tried: {[one['seed'] for one in over]}"
    if job["run_id"] != over[0]["run_id"]:
        yield "the best result is not the one that is published"


def computed_once(folders: Folders) -> Iterator[str]:
    """Where nothing crashed, one look has computed each control, and the others have read it."""
    manifests = [json.loads(file.read_bytes()) for file in sorted((folders.outputs / "a").glob("*.json"))]
    for key, looks in {"edge": ("", *LOOKS), "depth": LOOKS}.items():
        found = [text["control_files"].get(key) for text in manifests]
        by = sorted(file["computed_by"] for file in found if file)
        if by != ["another look"] * (len(looks) - 1) + ["this look"]:
            yield f"the control {key} was not computed once: {by}"


def _looks(folders: Folders) -> dict[str, str]:
    """The looks of the clip, each with its JSON."""
    further = {look: f"a.{look}.json" for look in LOOKS if (folders.inputs / f"a.{look}.json").exists()}
    return {"": "a.json"} | further


def _look_of(result: str) -> str:
    """The look that a result is of, by its name."""
    return next((look for look in LOOKS if result.startswith(f"a/a_{look}_aug")), "")


def nothing_charged(folders: Folders, scenario: str) -> Iterator[str]:
    """What the machine refused cost no attempt, of the clip or of a hook."""
    db = sqlite3.connect(f"file:{folders.state / 'journal.sqlite3'}?mode=ro", uri=True)
    try:
        for attempts, state in db.execute("SELECT attempts, state FROM jobs"):
            if attempts != (state == "done"):
                yield f"the job is {state} after {attempts} attempts"
        charging = ("retry",) if scenario == "refused" else ("retry", "failed", "rejected", "hook-retry", "hook-failed")
        for event, data in db.execute("SELECT event, data FROM job_events ORDER BY id"):
            if event in charging:
                yield f"the machine's refusal was charged ({event}): {data}"
    finally:
        db.close()


def hooks_over(folders: Folders) -> dict[str, int]:
    """Of the hooks that are over, how often each ran."""
    runs = toy_hooks.runs(folders.made)
    return {name: runs.get(name, 0) for name in toy_hooks.over(folders.state)} if runs else {}


def ran_no_more(folders: Folders, before: dict[str, int]) -> Iterator[str]:
    """What was over at the crash did not run again."""
    runs = toy_hooks.runs(folders.made)
    for name, count in before.items():
        if runs[name] != count:
            yield f"the hook {name} was over, and ran {runs[name] - count} times more"


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


def _came_out(job: sqlite3.Row, results: list[str], shown: dict[str, bytes], *, may_fail: bool) -> Iterator[str]:
    if job["state"] == "done":
        if len(results) != 1:
            yield f"published {len(results)} times: {results} ({job['detail']})"
        if job["output"] not in results or not shown.keys() >= {job["output"][:-4] + ".json"}:
            yield f"the result is lost: {job['output']} ({job['detail']})"
    elif not (may_fail and job["state"] == "failed" and job["error"] and not results):
        yield f"the job is lost: {job['state']}, {job['error'] or job['detail']}"


def _as_hooks_have_it(folders: Folders, scenario: str, job: sqlite3.Row, results: list[str]) -> Iterator[str]:
    if scenario == "hooked" and (job["error"] or toy_hooks.made(folders.made, toy_hooks.AFTER) is None):
        yield f"what the hook after the clip is for is not there: {job['error']}"
    if scenario == "refused" and (toy_hooks.REFUSAL not in str(job["error"]) or results):
        yield f"a hook before it refuses it, and the job is {job['state']}: {job['error']}, {results}"


def _of_ours(name: str, data: bytes, shown: dict[str, bytes]) -> Iterator[str]:
    """What is wrong with a file in outputs/ that no user has put there."""
    if data == SOMEBODY:
        return
    if name.endswith(".mp4"):
        yield from _result(name, data)
    elif name.endswith(".json"):
        yield from _manifest(name, data, shown)
    elif not name.endswith(".jpg"):
        yield f"what is that in outputs/: {name}"
    elif data not in map(toys.sheet, shown.values()):
        yield f"a contact sheet of no result is visible: {name}"


def _whole_json(file: Path) -> Iterator[str]:
    try:
        json.loads(file.read_bytes())
    except ValueError:
        yield f"a partial JSON is visible: {file.name}"


def _result(name: str, data: bytes) -> Iterator[str]:
    said = toys.whole(data)
    if said is None:
        yield f"a partial file is visible: {name}, {len(data)} bytes"
    elif (said["source"], said["sound"]) != (toys.digest(CLIP), toys.sound_of(CLIP)):
        yield f"a result is visible that was not made from the whole clip: {name}"


def _manifest(name: str, data: bytes, shown: dict[str, bytes]) -> Iterator[str]:
    try:
        said = json.loads(data)
        output = said["output"]
    except ValueError:
        yield f"a partial manifest is visible: {name}"
        return
    described = shown.get(name.rpartition("/")[0] + "/" + output["file"], b"")
    if toys.digest(described) != output["sha256"]:
        yield f"a manifest describes what is not there: {name}"
    if said.get("keep", {}).get("sha256") != (toys.digest(SOMEBODY) if _look_of(name) else None):
        yield f"a manifest does not say what was kept: {name}"
