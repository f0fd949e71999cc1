"""A daemon whose engine waits for the test, and the checks that every daemon's folder must pass at the end."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.daemons import Daemon, toy

from povwatch.journal import open_reader

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from povwatch.core.job import Job


class Waiting(Daemon):
    """Its engine is tests/engines/waits.py."""

    def __init__(self, folder: Path, *, load: bool = True, **sections: Mapping[str, Any]) -> None:
        """Write its configuration.

        Args:
            load: whether the engine loads at once; otherwise it waits for `let_load`.
        """
        super().__init__(folder, **{"engine": {"kind": toy("waits")}} | sections)
        self.env = {name: str(folder / name) for name in ("TOY_LOAD", "TOY_GO", "TOY_RUNS")}
        if load:
            self.let_load()

    def leave_unscored(self) -> None:
        """Have results not scored, from the next start on: of a long clip that takes longer than all the rest."""
        self.env["POVWATCH_QUALITY__SCORES"] = "false"

    def let_load(self) -> None:
        """Let the engine load."""
        (self.folder / "TOY_LOAD").touch()

    def let_go(self) -> None:
        """Let everything that is being generated, now and later, finish."""
        (self.folder / "TOY_GO").touch()

    @property
    def runs(self) -> list[int]:
        """The job of every `generate`, in order."""
        file = self.folder / "TOY_RUNS"
        return [int(line) for line in file.read_text().split()] if file.exists() else []


def newest(daemon: Daemon, clip: bytes = b"a.mp4") -> Job | None:
    """The clip's newest job, from the journal: faster than a command."""
    if not (daemon.state / "journal.sqlite3").exists():
        return None
    with open_reader(daemon.state) as reader:
        return reader.latest(clip)


def sound(daemon: Daemon) -> None:
    """Check the folder of a daemon that is idle or gone."""
    with sqlite3.connect(f"file:{daemon.state / 'journal.sqlite3'}?mode=ro", uri=True) as db:
        assert db.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    db.close()
    rooms = daemon.outputs / ".povwatch"
    with open_reader(daemon.state) as reader:
        wanted = {str(job.id) for job in reader.jobs() if job.kept or not job.ended}
    assert [room for room in rooms.iterdir() if room.name.split(".")[0] not in wanted] == []
    assert list(daemon.inputs.rglob(".povwatch-*")) == []
    for path in daemon.published():
        if path.endswith(".json"):
            manifest = json.loads((daemon.outputs / path).read_text())
            output = (daemon.outputs / path).with_name(manifest["output"]["file"])
            assert hashlib.sha256(output.read_bytes()).hexdigest() == manifest["output"]["sha256"]


def left_over(folder: Path, patience: float = 3.0) -> list[int]:
    """The processes that still work in a folder, or were told its path, after some patience; ideally none.

    These may be a daemon, its workers and their descendants, and its media children.
    """
    deadline = time.monotonic() + patience
    while (found := list(_processes(folder))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


def _processes(folder: Path) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            where = (entry / "cwd").readlink()
            told = (entry / "environ").read_bytes()
        except OSError:  # gone meanwhile, or somebody else's
            continue
        if where == folder or os.fsencode(f"{folder}/TOY_GO") in told:
            yield int(entry.name)
