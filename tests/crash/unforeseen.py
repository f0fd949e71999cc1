"""Raises RuntimeError in one step of the daemon after another, and sees that the daemon lives: see test_unforeseen.py.

    python tests/crash/unforeseen.py once --shard 0/4
    python tests/crash/unforeseen.py starts

once    each function of the stages that a healthy run calls raises, the first time that it is called in the loop
starts  the daemon is killed while a clip is claimed; each function that its recovery calls then raises whenever it is
        called in a recovery, at this start and at the ones from then on

Prints one JSON object: how many steps were tried, and each after which something did not hold. The steps are found by
looking at what is called, so that a new one is tried by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import harness  # noqa: E402
import invariants  # noqa: E402
import toys  # noqa: E402
import world  # noqa: E402
from support import sound_journal  # noqa: E402

import povwatch  # noqa: E402
from povwatch.core.job import JobState  # noqa: E402
from povwatch.daemon import loop  # noqa: E402
from povwatch.service import log  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

PACKAGE = Path(povwatch.__file__).parent
STAGES = tuple(
    str(PACKAGE / part)
    for part in (
        *("arrival/", "grace/", "queue/", "hooks/", "attempt/", "run/", "results/"),
        "workers/pool.py",
        *("daemon/recovery.py", "journal/store.py", "spec/error_files.py", "daemon/drain.py", "daemon/status.py"),
        *("files/free_space.py", "core/blockers.py", "core/stage.py", "publish/outputs_watch.py", "daemon/requests.py"),
        *("publish/publisher.py", "publish/staging.py", "spec/inputs_folder.py"),
    )
)
"""Where the steps are. What carries them (the loop, its threads, clock and mailboxes, mishaps.py) is not among them."""

KILLED_IN = (JobState.QUEUED, JobState.RUNNING, JobState.CHECKING, JobState.PUBLISHING)
STARTS = 4

RUNS = 3
"""A step that one run took need not come in the next one: whether the end is looked at while a job waits is chance."""

OF_NO_JOB = {"recover", "JobStore.claimed", "JobStore.in_state", "_Failures.keep", "_Failures.of"}
"""Without these there is no knowing which jobs there are: the daemon lives and tries again, and goes on when it can."""

CLIPS = ("a", "b")


class Injector:
    """Looks at every call in every thread; what is asked for happens in the function that is called."""

    def __init__(self) -> None:
        self.met: dict[CodeType, None] = {}
        self.target: CodeType | None = None
        self.again = False
        self.raised = 0
        self.open = False
        """Whether calls count: in the loop, or in a recovery."""

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call" or not self.open or not frame.f_code.co_filename.startswith(STAGES):
            return
        code = frame.f_code
        if code.co_name.startswith("<") or code.co_name in {"__init__", "close", "close_root"}:
            return
        self.met[code] = None
        if code is self.target and (self.again or not self.raised):
            self.raised += 1
            raise RuntimeError(f"nobody foresaw this in {code.co_qualname}")  # this thread is looked at no more

    def watch(self) -> None:
        threading.setprofile(self)
        sys.setprofile(self)

    def rest(self) -> None:
        threading.setprofile(None)
        sys.setprofile(None)


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("what", choices=("once", "starts"))
    asked.add_argument("--shard", default="0/1")
    asked.add_argument("--only", default="")
    args = asked.parse_args()
    part, parts = map(int, args.shard.split("/"))
    with tempfile.TemporaryDirectory(prefix="povwatch-unforeseen-", dir=harness.quick()) as base:
        lives = Lives(Path(base))
        points = list(lives.once() if args.what == "once" else lives.starts())[part::parts]
        points = [point for point in points if args.only in point[0]]
        failures = {}
        for name, point in points:
            begun = time.monotonic()
            if found := point():
                failures[name] = found
            sys.stderr.write(f"{time.monotonic() - begun:6.2f} s {name} {found or ''}\n")
    json.dump({"points": len(points), "failures": failures}, sys.stdout, indent=1)


class Lives:
    """Lives of the daemon with two clips."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self._number = 0
        self._log = base / "log"
        log.configure(self._log.open("a", buffering=1))
        harness.once_for_all()
        self._injector = Injector()

    def once(self) -> Iterator[tuple[str, Callable[[], list[str]]]]:
        before: set[CodeType] = set()
        for scenario in ("plain", "hooked", "taken", "looks"):
            folders = self._fresh()
            self._injector.met.clear()
            self._live(folders, scenario, within="_turn")
            # With more looks the clips take longer: only the steps that no other run takes.
            steps = [code for code in self._injector.met if scenario != "looks" or code not in before]
            before |= set(self._injector.met)
            for code in (None, *steps):
                yield f"{scenario}: {named(code)}", lambda code=code, scenario=scenario: self._once(scenario, code)

    def starts(self) -> Iterator[tuple[str, Callable[[], list[str]]]]:
        for state in KILLED_IN:
            folders = self._killed(state)
            self._injector.met.clear()
            self._live(folders, "hooked", within="recover", life=2)
            for code in list(self._injector.met):
                yield f"{state}: {named(code)}", lambda code=code, state=state: self._starts(state, code)

    def _once(self, scenario: str, code: CodeType) -> list[str]:
        found: list[str] = []
        for _ in range(RUNS):
            folders = self._fresh()
            found += self._live(folders, scenario, within="_turn", code=code)
            if self._injector.raised or code is None:
                break
        else:
            found += ["it was never called"]
        found += self._live(folders, "plain" if scenario == "taken" else scenario, life=2)
        return found + self._wrong(folders, code)

    def _starts(self, state: JobState, code: CodeType) -> list[str]:
        folders = self._killed(state)
        found = []
        for life in range(2, 2 + STARTS):
            found += self._live(folders, "hooked", within="recover", code=code, again=True, life=life)
        if named(code).rpartition(": ")[2] in OF_NO_JOB:
            found = [said for said in found if said != "it comes to no end"]
            found += self._live(folders, "hooked", life=2 + STARTS)
        return found + self._wrong(folders, code)

    def _live(
        self,
        folders,
        scenario: str,
        *,
        within: str = "",
        code: CodeType | None = None,
        again: bool = False,
        life: int = 1,
    ) -> list[str]:
        """One life; what is wrong with it. `within` names what calls count in: loop's `_turn`, or its `recover`."""
        injector = self._injector
        injector.target, injector.again, injector.raised, injector.open = code, again, 0, False
        lived = world.World(folders, scenario, life=life, apart=lambda act: act())
        whole = getattr(lived.daemon if within == "_turn" else loop, within, None)

        def counted(*given, **named):
            injector.open = True
            injector.watch()
            try:
                return whole(*given, **named)
            finally:
                injector.open = within == "_turn"  # the threads go on

        if within == "_turn":
            lived.daemon._turn = counted
        elif within:
            loop.recover = counted
        try:
            injector.watch()
            return [] if lived.live() else ["it comes to no end"]
        except Exception as error:  # noqa: BLE001 - whatever it is, the daemon did not live
            traceback.print_exc(file=self._log.open("a"))
            return [f"the daemon died: {type(error).__name__}: {error}"]
        finally:
            injector.rest()
            if within == "recover":
                loop.recover = whole

    def _killed(self, state: JobState):
        """Folders as a kill leaves them while the first clip is in a state."""
        folders = self._fresh()
        pid = os.fork()
        if pid == 0:
            lived = world.World(folders, "hooked", apart=lambda act: act())
            sleep = lived._sleep

            def die(seconds: float) -> None:
                sleep(seconds)
                job = lived.daemon.app.store.of_path(b"a.mp4")
                if job is not None and job.state is state:
                    os._exit(0)

            lived.daemon.app.waker._slept = die
            try:
                lived.live()
            finally:
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0, f"it was never {state}"
        return folders

    def _fresh(self):
        shutil.rmtree(self._base / f"{self._number}", ignore_errors=True)
        self._number += 1
        folders = harness.make(self._base / f"{self._number}", self._base / f"{self._number}")
        (folders.inputs / "b.mp4").write_bytes(invariants.CLIP)
        self._log.write_bytes(b"")
        return folders

    def _wrong(self, folders, code: CodeType | None) -> list[str]:
        """What does not hold in the end: nothing lost, nothing twice, and what was raised costs one clip at most."""
        db = sqlite3.connect(folders.state / "journal.sqlite3")
        db.row_factory = sqlite3.Row
        try:
            found = list(sound_journal.violations(db))
            jobs = {(row["path"], row["look"]): row for row in db.execute("SELECT * FROM jobs")}
            count = len(db.execute("SELECT id FROM jobs").fetchall())
        finally:
            db.close()
        looks = [(clip, "") for clip in CLIPS] + [
            ("a", look) for look in world.LOOKS if (folders.inputs / f"a.{look}.json").exists()
        ]
        if count != len(looks):
            found.append(f"there are {count} jobs")
        shown = invariants.visible(folders.outputs)
        done = []
        for clip, look in looks:
            job = jobs.get((f"{clip}.mp4".encode(), look))
            begin = f"{clip}/{clip}_{look}_aug" if look else f"{clip}/{clip}_aug"
            results = [name for name, data in shown.items() if name.startswith(begin) and toys.whole(data)]
            if job is None:
                found.append(f"{clip} {look} is lost")
            elif job["state"] == "done":
                done.append((clip, look))
                if len(results) != 1 or job["output"] != results[0]:
                    found.append(f"{clip} was published {len(results)} times: {results}, {job['output']}")
            elif job["state"] != "failed" or "nobody foresaw this" not in (job["error"] or ""):
                found.append(f"{clip} is {job['state']}: {job['error'] or job['detail']}")
            elif job["promise"] and not results:
                found += self._kept(folders, job)
        if len(done) < len(looks) - 1 or (code is None and len(done) < len(looks)):
            found.append(f"done are only {done}")
        if len(done) == len(looks) and (left := list((folders.outputs / ".povwatch").rglob("*"))):
            found.append(f"left over: {[file.name for file in left]}")
        return found

    @staticmethod
    def _kept(folders, job: sqlite3.Row) -> Iterator[str]:
        """A promise that could not be kept: its files stay, and are named."""
        for entry in json.loads(job["promise"])["entries"]:
            (room,) = (folders.outputs / ".povwatch").glob(f"*.{job['run_id']}")
            if not (room / entry["staged"]).is_file() or entry["staged"] not in job["error"]:
                yield f"{entry['staged']} is not kept, or not named: {job['error']}"


def named(code: CodeType | None) -> str:
    if code is None:
        return "nothing"
    return f"{Path(code.co_filename).relative_to(PACKAGE)}: {code.co_qualname}"


if __name__ == "__main__":
    main()
