"""What really ran for the clips: the ledgers that the engine and the hooks keep of themselves."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

HOOK = Path(__file__).parent.parent / "hooks" / "tempers.py"

TIMEOUT = "5s"
"""Of a hook: some hang."""

BEFORE, AFTER, GENERATES = "prepares", "archives", "generates"
"""The hooks' names, and the engine's ledger."""


@dataclass(frozen=True)
class Ran:
    """One run of a program for one job. Times are seconds of the machine's monotonic clock."""

    job: int
    run: str
    """Of the engine: the run's id in the journal."""
    alone: bool
    """Whether nobody else was at what nobody else may be at meanwhile."""
    begun: float
    made: float | None
    """When it had done its work; None if it never did."""
    more: dict[str, Any]
    """What it was given: `spec`; of a hook also `video` and `output`, digests; of the engine `worker`, a process."""

    @property
    def asked(self) -> tuple[Any, Any]:
        """Of the JSON, what an edit changes."""
        return self.more["spec"].get("seed"), self.more["spec"].get("prompt")


def folder_of(place: Path) -> Path:
    """Where the ledgers are."""
    return place / "ran"


def hooks(place: Path, seed: int) -> list[dict[str, Any]]:
    """[[hooks]]: one before each clip, one after it."""
    folder = folder_of(place)
    folder.mkdir(parents=True, exist_ok=True)

    def hook(name: str, *more: str) -> dict[str, Any]:
        made = f"{folder}/{{job}}.{name}.json"
        ledger = f"{folder}/{name}.jsonl"
        given = ["{job}", "{stem}", "{video}", "{spec}", made, *more]
        argv = [sys.executable, "-I", "-S", str(HOOK), ledger, str(seed), *given]
        return {"name": name, "argv": argv, "expects": [made], "timeout": TIMEOUT}

    return [hook(BEFORE) | {"when": "before"}, hook(AFTER, "{output}") | {"when": "after"}]


def read(place: Path, name: str) -> dict[int, list[Ran]]:
    """A ledger: each job's runs, in the order of their beginnings."""
    file = folder_of(place) / f"{name}.jsonl"
    return parsed(file.read_text().splitlines()) if file.exists() else {}


def parsed(lines: Iterable[str]) -> dict[int, list[Ran]]:
    """The same of its lines."""
    found = [json.loads(line) for line in lines]
    made = {(line["job"], line["run"]): line["at"] for line in found if line["what"] == "made"}
    runs: dict[int, list[Ran]] = defaultdict(list)
    for line in found:
        if line["what"] == "begun":
            more = {key: line.get(key) for key in ("spec", "video", "output", "worker")}
            at = made.get((line["job"], line["run"]))
            runs[line["job"]].append(Ran(line["job"], line["run"], line["alone"], line["at"], at, more))
    return runs
