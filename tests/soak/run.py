"""One soak from its seed to its ledger."""

from __future__ import annotations

import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import actions
import duties
import ran
import tamper
import tamper_ran
import troubles
from ledger import AT_REST, JobStore
from stepped import SteppedClock
from support.clips import make_clip
from support.daemons import Daemon, toy
from support.waiting import left_over
from witness import Witness
from world import World

from povwatch.core.job import JobState
from povwatch.journal import open_reader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from povwatch.core.job import Job

TURN = 0.2
"""Seconds from one thing that happens to the next."""

BACKLOG = 10
"""Clips under way at which people wait for povwatch: a longer queue is only slower."""

QUIET = 3.0
"""Seconds in which nothing changes, after which nothing will."""

LAST = "zz last.mp4"
"""A clip of which only its JSON is edited, when all else is at rest."""

REST = 300.0
"""Seconds in which everything has to come to rest: pauses of a minute, several of them."""

ROUGH_SHARE = 0.6
"""The part of the time in which the daemon is ended again and again; in the rest one daemon lives through it all."""

GROWTH = 24 * 2**20
"""Bytes by which that daemon may grow: SQLite's cache, Python's arenas."""


@dataclass(frozen=True)
class Vitals:
    """What a daemon holds."""

    descriptors: int
    memory: int
    """Bytes."""
    threads: int

    @classmethod
    def of(cls, pid: int) -> Vitals:
        """Of a process that runs."""
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        memory = int(status["VmRSS"].split()[0]) * 1024
        return cls(len(list(Path(f"/proc/{pid}/fd").iterdir())), memory, int(status["Threads"]))

    def grown(self, later: Vitals) -> Iterator[str]:
        """What it holds more of than it may."""
        if later.descriptors > self.descriptors + 1:
            yield f"the daemon's descriptors grew from {self.descriptors} to {later.descriptors}"
        if later.memory > self.memory + GROWTH:
            yield f"the daemon's memory grew from {self.memory >> 20} to {later.memory >> 20} MiB"


class Soak:
    """A daemon, the people around it, and what is brought upon it."""

    def __init__(self, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self._seed = seed
        self._done = 0
        self._say = say
        self._daemon = Daemon(
            folder,
            engine={"kind": toy("tempers"), "stall_timeout": "8s", "workers": troubles.WORKERS},
            grace={"period": "500ms"},
            hooks=ran.hooks(folder, seed),
        )
        self._daemon.env["TOY_GENERATES"] = str(ran.folder_of(folder) / f"{ran.GENERATES}.jsonl")
        clock = SteppedClock(folder / "clock")
        self._daemon.before = clock.before
        self._daemon.forks_media = False
        self._world = World(self._daemon, random.Random(seed))  # noqa: S311 - to be had again
        self._troubles = troubles.Troubles(self._world, clock)
        self._ongoing: list[Iterator[None]] = []
        self._log = (folder / "actions").open("w", buffering=1)

    def run(self, seconds: float, *, prove: bool = False) -> list[str]:
        """Soak it for so long; whatever is wrong then.

        Args:
            seconds: of things happening.
            prove: whether the ledger is then to see, one by one, what is spoilt for it.
        """
        with self._daemon, Witness(self._world) as witness:
            self._drop_last()
            self._troubles.up()
            self._turns(seconds * ROUGH_SHARE, troubles.WEIGHTS | troubles.ROUGH)
            wrong = self._rest()
            before = Vitals.of(self._daemon.pid)
            self._turns(seconds * (1 - ROUGH_SHARE), troubles.WEIGHTS)
            wrong += self._rest()
            after = Vitals.of(self._daemon.pid)
            wrong += before.grown(after)
            self._say(f"the daemon that lived through the last part: {before} at first, {after} in the end")
            self._troubles.stop()
            wrong += [f"a process is left over: {pid}" for pid in left_over(self._daemon.folder)]
        wrong += self._troubles.wrong
        wrong += [f"povwatch itself failed: {line['problem']}" for line in self._daemon.events("unforeseen")]
        ledger = JobStore(self._world, witness)
        wrong += ledger.violations()
        if prove and not wrong:
            wrong += [*tamper.unseen(self._world, witness, ledger), *tamper_ran.unseen(self._world)]
        done = ", ".join(f"{name} {n}" for name, n in sorted(self._world.counts.items()))
        self._say(f"done to it: {done}")
        self._say(ledger.summary())
        self._say(duties.summary(self._world))
        return wrong

    def _turns(self, seconds: float, bad: dict[troubles.Trouble, int]) -> None:
        """Things happen for so long; what is under way then comes to its end."""
        until = time.monotonic() + seconds
        kinds = [*actions.WEIGHTS, *bad]
        weights = [*actions.WEIGHTS.values(), *bad.values()]
        while time.monotonic() < until or self._ongoing:
            self._troubles.turn()
            self._ongoing = [going for going in self._ongoing if next(going, self) is None]
            if time.monotonic() < until and self._under_way() < BACKLOG:
                # Dice of its own for each: what one finds otherwise, as the daemon was slower, changes no later one.
                self._done += 1
                self._world.dice = random.Random(f"{self._seed}/{self._done}")  # noqa: S311 - to be had again
                (kind,) = self._world.dice.choices(kinds, weights)
                self._do(kind)
            time.sleep(TURN)
        while not self._daemon.running:
            self._troubles.turn()

    def _do(self, kind: Callable[..., Iterator[None] | None]) -> None:
        self._world.counts[kind.__name__] += 1
        self._log.write(f"{time.time():.2f} {kind.__name__}\n")
        going = kind(self._troubles if kind in troubles.ROUGH or kind in troubles.WEIGHTS else self._world)
        if going is not None and next(going, self) is None:
            self._ongoing.append(going)

    def _under_way(self) -> int:
        return sum(job.waiting_on not in AT_REST for job in self._active())

    def _active(self) -> list[Job]:
        with open_reader(self._daemon.state) as journal:
            return journal.active()

    def _rest(self) -> list[str]:
        """Wait until nothing moves any more; whatever still does after a long time.

        However rarely a slow machine looks at the whole folder: an edit of the last clip's JSON is seen by such a look,
        and with it all that was done before.
        """
        asked = 1000 + self._done
        wrong = self._quiet(lambda _: True)
        self._world.put(LAST.replace(".mp4", ".json"), self._world.spec(LAST, seed=asked))
        return wrong + self._quiet(
            lambda jobs: any(
                job.path == LAST.encode() and job.state is JobState.DONE and f'"seed": {asked}' in (job.spec_json or "")
                for job in jobs
            )
        )

    def _quiet(self, seen: Callable[[list[Job]], bool]) -> list[str]:
        """Wait until that is so, and nothing has changed for a while."""
        deadline, since, last = time.monotonic() + REST, time.monotonic(), None
        while time.monotonic() < deadline:
            self._troubles.turn()
            with open_reader(self._daemon.state) as journal:
                jobs = journal.jobs()
            now = [(job.id, job.state, job.waiting_on, job.updated_at) for job in jobs]
            moving = [job for job in jobs if not job.ended and job.waiting_on not in AT_REST]
            if now != last or moving or not self._troubles.has_workers or not seen(jobs):
                since, last = time.monotonic(), now
            elif time.monotonic() - since > QUIET:
                return []
            time.sleep(TURN)
        return [f"job {job.id} never comes to rest: {job.state}, {job.waiting_on}, {job.detail}" for job in moving] or [
            "an edit of a JSON is never seen"
        ]

    def _drop_last(self) -> None:
        """A clip that nobody touches but `_rest`."""
        content = self._world.keep(
            make_clip(self._world.made / LAST, first=240, frames=8), tuple(range(240, 248)), sound=False
        )
        self._world.busy |= {LAST, LAST.replace(".mp4", ".json")}
        self._world.came(LAST, content)
        shutil.copyfile(content.file, self._world.inputs / LAST)
