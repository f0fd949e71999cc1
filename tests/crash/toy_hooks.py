"""In place of the programs that hooks run: one before the clip and one after it, which keep a count of their runs.

The engine is not to begin without what the first one makes, and a job is not done without what the second one makes.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import toys

from povwatch.config.hooks import Hook
from povwatch.hooks.program import Ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BEFORE, AFTER = "before", "after"

SCENARIOS = {"hooked", "refused"}
"""hooked: both hooks do what they are for. refused: the one before the clip never does, and the clip is not to run."""


REFUSAL = "it does not want to"


class Programs:
    """What the two do."""

    def __init__(self, place: Path, scenario: str, *, apart: Callable[[Callable[[], None]], None]) -> None:
        """Make them.

        Args:
            place: the folder for what they make.
            scenario: the world's.
            apart: calls its argument as somebody who is not under test.
        """
        self._place, self._refuses, self._apart = place, scenario == "refused", apart
        self.hooks = [self._hook(BEFORE, "{spec}"), self._hook(AFTER, "{output}")] if scenario in SCENARIOS else []

    def run(self, argv: Sequence[str], **_: Any) -> Ended:
        """In place of hooks.program.run_program: one program to its end."""
        name, video, other, made = argv
        self._apart(lambda: self._count(name))
        wrong = "" if toys.whole(Path(video).read_bytes()) else "the clip that it was given is not whole"
        if name == BEFORE and json.loads(Path(other).read_text()).get("name") != Path(video).stem:
            wrong = "the JSON that it was given is another one"
        if name == AFTER and not toys.whole(Path(other).read_bytes()):
            wrong = "the result that it was told of is not whole"
        if self._refuses and name == BEFORE:
            wrong = REFUSAL
        if not wrong:
            toys.write(made, json.dumps({"by": name, "of": toys.digest(Path(video).read_bytes())}).encode())
        return Ended(bool(wrong) * 3, (), timed_out=False, called_off=False, tail=(wrong,), left_out=0)

    def missing(self) -> str:
        """Why the engine may not begin yet, as a clause; empty if it may."""
        if not self.hooks or made(self._place, BEFORE) is not None:
            return ""
        return "the engine began without what the hook before the clip makes"

    def _hook(self, name: str, other: str) -> Hook:
        file = str(_file(self._place, name))
        return Hook(name=name, when=name, argv=(name, "{video}", other, file), expects=(file,))

    def _count(self, name: str) -> None:
        with (self._place / f"{name}.runs").open("ab") as file:
            file.write(b"+")
            file.flush()
            os.fsync(file.fileno())


def runs(place: Path) -> dict[str, int]:
    """How often each program was begun."""
    return {file.stem: file.stat().st_size for file in place.glob("*.runs")}


def made(place: Path, name: str) -> dict[str, str] | None:
    """What a program has made, if it is whole."""
    try:
        return dict(json.loads(_file(place, name).read_bytes()))
    except (FileNotFoundError, ValueError):
        return None


def over(state: Path) -> set[str]:
    """The hooks that the journal knows to be over. Of a copy: to open one that was left so is to mend it."""
    with tempfile.TemporaryDirectory() as folder:
        for file in state.glob("journal.sqlite3*"):
            shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder, "journal.sqlite3"))) as db:
            try:
                return {name for (name,) in db.execute("SELECT hook FROM hooks WHERE state IN ('done', 'failed')")}
            except sqlite3.OperationalError:  # it was only just being made
                return set()


def history(db: sqlite3.Connection) -> Iterator[str]:
    """What the journal says of each hook is what its job's history says. Rows come by name."""
    for row in db.execute("SELECT * FROM hooks"):
        told = [
            event["event"]
            for event in db.execute("SELECT * FROM job_events WHERE job = ? ORDER BY id", (row["job"],))
            if json.loads(event["data"] or "{}").get("hook") == row["hook"] or event["event"] == "failed"
        ]
        ends = {"done": {"hook-done"}, "failed": {"hook-failed", "failed"}}.get(row["state"], set())
        if ends and not ends & set(told):
            yield f"the hook {row['hook']} is {row['state']}, and the history has only {told}"


def _file(place: Path, name: str) -> Path:
    return place / f"{name}.json"
