"""Makes the folders for tests/acceptance/test_takeover.py: povwatch as it was killed in each state.

    python tests/support/takeover.py tests/data/takeover/NAME [STATE ...]

Each state is an archive: config.toml, inputs/, outputs/ with its private files, and the journal. The archives stay
unchanged when povwatch changes. Before a change of the journal or of outputs/.povwatch, make new ones beside them.
Tests replace `/pov` and `/checkout` in the journal with their own paths.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sqlite3
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.daemons import toy
from support.waiting import Waiting, newest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]

HOOK = ["sh", "-c", 'echo "$1" >>hook.runs; while [ ! -e let.hook ]; do sleep 0.05; done', "sh", "{stem}"]
"""Records that it runs, and waits for a file."""


def die_at(place: str, call: int) -> None:
    """Kill this process right before a call.

    Args:
        place: `package.module:name`, or `package.module:Class.name`.
        call: the number of the call, from 1.
    """
    module, _, path = place.partition(":")
    holder: Any = importlib.import_module(module)
    *owners, name = path.split(".")
    for owner in owners:
        holder = getattr(holder, owner)
    real, calls = getattr(holder, name), 0

    @functools.wraps(real)
    def last(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **named)

    setattr(holder, name, last)


def arriving(here: Waiting) -> None:
    """It settles."""
    here.configure(arrival={"settle": "1h"}, engine={"kind": toy("keeps_chunks")})
    here.start()
    here.clip()
    here.wait_for("seen")
    here.until(lambda: newest(here))


def grace(here: Waiting) -> None:
    """Its JSON was edited, and there is an hour left."""
    here.configure(grace={"period": "1h"}, engine={"kind": toy("keeps_chunks")})
    here.start()
    here.clip()
    here.wait_for("grace")
    spec = here.inputs / "a.json"
    spec.write_text(spec.read_text().replace('"seed": 0', '"seed": 77'))
    here.wait_for("edited")


def held(here: Waiting) -> None:
    """It is held by command."""
    grace(here)
    assert here.ask("hold", "a.mp4").done
    here.until(lambda: newest(here).waiting_on == "held")


def queued(here: Waiting) -> None:
    """The disk is too full, so no worker has it."""
    here.configure(disk={"reserve": "900TB"}, engine={"kind": toy("keeps_chunks")})
    here.start()
    here.clip()
    here.wait_for("queued")


def retry(here: Waiting) -> None:
    """Its first attempt has failed."""
    here.configure(engine={"kind": toy("keeps_chunks")})
    here.start("--verbose")
    here.clip()
    here.until(lambda: here.peek("a.mp4") and here.peek("a.mp4")["progress"])
    os.kill(here.events("worker-started")[-1]["pid"], signal.SIGKILL)
    here.wait_for("retry")


def running(here: Waiting) -> None:
    """Its worker has saved a chunk."""
    here.configure(engine={"kind": toy("keeps_chunks")})
    here.start()
    here.clip()
    here.until(lambda: here.peek("a.mp4") and here.peek("a.mp4")["progress"])


def _killed_at(here: Waiting, place: str, call: int = 1) -> None:
    here.configure(engine={"kind": toy("keeps_chunks")})
    here.let_go()
    here.before = functools.partial(die_at, place, call)
    here.clip()
    here.start()
    here.ended()


def checking(here: Waiting) -> None:
    """It is generated, and nothing of it is finished."""
    _killed_at(here, "povwatch.results.stage:finish_and_seal")


def sealed(here: Waiting) -> None:
    """Its result is finished and sealed; the promise is not journalled."""
    _killed_at(here, "povwatch.results.stage:ResultsStage._checked")


def publishing(here: Waiting) -> None:
    """Its promise is journalled, and nothing is visible."""
    _killed_at(here, "povwatch.publish.publisher:Publisher.publish")


def half(here: Waiting) -> None:
    """Its video is visible, and its manifest is not."""
    _killed_at(here, "povwatch.publish.publisher:_renamed", call=2)


def published(here: Waiting) -> None:
    """All of it is visible; the journal does not know that."""
    _killed_at(here, "povwatch.results.stage:ResultsStage._published")


def hook_before(here: Waiting) -> None:
    """A hook runs before it."""
    hook = {"name": "first", "when": "before", "argv": HOOK}
    here.configure(engine={"kind": toy("keeps_chunks")}, hooks=[hook])
    here.start()
    here.clip()
    here.until((here.folder / "hook.runs").exists)


def hook_after(here: Waiting) -> None:
    """It is published, and a hook runs after it."""
    hook = {"name": "last", "when": "after", "argv": HOOK}
    here.configure(engine={"kind": toy("keeps_chunks")}, hooks=[hook])
    here.let_go()
    here.start()
    here.clip()
    here.until((here.folder / "hook.runs").exists)


def ended(here: Waiting) -> None:
    """One clip for each end."""
    for engine, clip, end in (
        ("copies", "done.mp4", "done"),
        ("truncated_artifact", "failed.mp4", "failed"),
        ("blocked", "blocked.mp4", "blocked"),
    ):
        here.configure(engine={"kind": toy(engine), "attempts": 1})
        here.start()
        here.clip(clip)
        here.wait_for(end, clip=clip)
        here.stop()
    here.start()
    (here.inputs / "text.mp4").write_text("no video")
    here.wait_for("rejected", clip="text.mp4")
    here.clip("gone.mp4")
    (here.inputs / "gone.hold").touch()
    here.wait_for("held", clip="gone.mp4")
    assert here.ask("cancel", "gone.mp4").done
    here.wait_for("cancelled", clip="gone.mp4")


STATES: tuple[Callable[[Waiting], None], ...] = (
    *(arriving, grace, held, queued, retry, running, checking, sealed, publishing, half, published),
    *(hook_before, hook_after, ended),
)


def make(state: Callable[[Waiting], None], to: Path) -> None:
    """Make one archive."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve() / "pov"
        with Waiting(folder) as here:
            state(here)
            here.kill()
        _let_go_of_paths(folder)
        with tarfile.open(to / f"{state.__name__}.tar.xz", "w:xz") as archive:
            for name in ("config.toml", "inputs", "outputs", ".povwatch", "TOY_RUNS", "hook.runs"):
                if (folder / name).exists():
                    archive.add(folder / name, name, filter=_nobody)


def _let_go_of_paths(folder: Path) -> None:
    """Replace this machine's paths with `/pov` and `/checkout`, and put the whole journal into one file."""
    replace_paths(folder, {str(folder): "/pov", str(ROOT): "/checkout"})


def replace_paths(folder: Path, names: dict[str, str]) -> None:
    """Replace paths in a folder's configuration and in every text of its journal."""
    config = folder / "config.toml"
    text = config.read_text()
    for old, new in names.items():
        text = text.replace(old, new)
    config.write_text(text)
    db = sqlite3.connect(folder / ".povwatch" / "journal.sqlite3")
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    for table in tables:
        for _, column, kind, *_ in db.execute(f"PRAGMA table_info({table})").fetchall():
            if kind == "TEXT":
                for old, new in names.items():
                    statement = f"UPDATE {table} SET {column} = replace({column}, ?, ?) WHERE instr({column}, ?)"  # noqa: S608 - of names of ours
                    db.execute(statement, (old, new, old))
    db.commit()
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()


def _nobody(found: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """The archive's entry without an owner; None for locks, requests and SQLite's extra files."""
    if found.name.endswith(("-wal", "-shm", ".lock")):
        return None
    found.uid = found.gid = 0
    found.uname = found.gname = ""
    return found


def main() -> None:
    """Make the archives that the command line names, or all."""
    to, wanted = Path(sys.argv[1]), sys.argv[2:]
    to.mkdir(parents=True, exist_ok=True)
    for state in STATES:
        if not wanted or state.__name__ in wanted:
            make(state, to)
            print(state.__name__, (to / f"{state.__name__}.tar.xz").stat().st_size, "bytes")  # noqa: T201 - a script's


if __name__ == "__main__":
    main()
