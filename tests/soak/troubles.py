"""What happens to the daemon, its children and its clock."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stepped import SteppedClock
    from support.daemons import Daemon
    from world import World

    Trouble = Callable[["Troubles"], None]

STEPS = [-7200.0, -600.0, -30.0, -2.0, 2.0, 30.0, 600.0, 7200.0]
"""Seconds by which the wall clock is set."""

FAR = 6 * 3600.0
"""It is never further off than that: a JSON that stays wrong for a day ends its clip."""

WORKERS = 2
"""Of the daemon."""

AT_LEAST = 1.0
"""Seconds that a daemon lives that is not killed as it starts."""


class Troubles:
    """Brings them about, and starts the daemon again."""

    def __init__(self, world: World, clock: SteppedClock) -> None:
        self._world = world
        self._daemon: Daemon = world.daemon
        self._clock = clock
        self._down = 0
        """Turns until it is started again."""
        self.wrong: list[str] = []
        """What a daemon did that no daemon may do."""

    def turn(self) -> None:
        """See that it runs; start it when its time has come."""
        if self._daemon.running:
            return
        if not self._down:
            assert self._daemon.process is not None
            self.wrong.append(f"the daemon ended by itself, with {self._daemon.process.poll()}")
        self._down = max(self._down - 1, 0)
        if not self._down:
            self.up()

    def up(self) -> None:
        """Start it, and wait until it watches."""
        self._daemon.start("--verbose")

    @property
    def has_workers(self) -> bool:
        """Whether all its workers are there: one that was killed is started again after a pause."""
        return self._daemon.running and sum(map(_is_worker, children(self._daemon.pid))) == WORKERS

    def killed(self) -> None:
        """kill -9, and so many turns without a daemon."""
        pause = self._world.dice.randrange(1, 10)
        if self._daemon.running:
            self._daemon.kill()
            self._down = pause

    def killed_young(self) -> None:
        """Killed, started, and killed again as it starts."""
        moment = self._world.dice.uniform(0.0, AT_LEAST)
        if self._daemon.running:
            self._daemon.kill()
            self._daemon.start("--verbose", watching=False)
            time.sleep(moment)
            self._daemon.kill()
            self._down = 2

    def restarted(self) -> None:
        """As systemctl restart does."""
        if self._daemon.running:
            self.stop()
            self._down = 1

    def stop(self) -> None:
        """SIGTERM; it has to end well."""
        if code := self._daemon.stop():
            self.wrong.append(f"asked to end, the daemon ended with {code}")

    def worker_killed(self) -> None:
        self._kill(_is_worker, self._world.dice.random())

    def child_killed(self) -> None:
        """One that looks at a clip or works on one; as the kernel does without memory."""
        self._kill(_is_media_child, self._world.dice.random())

    def hook_killed(self) -> None:
        """Or the process that watches over it."""
        itself = self._world.dice.random() < 0.7
        self._kill(_is_reaper, self._world.dice.random(), below=itself)

    def clock_set(self) -> None:
        step = self._world.dice.choice(STEPS)
        self._clock.step(step if abs(self._clock.off + step) <= FAR else -step)

    def _kill(self, which: Callable[[tuple[int, bytes]], bool], draw: float, *, below: bool = False) -> None:
        """Kill one of the daemon's children, or what that has started."""
        found = list(filter(which, children(self._daemon.pid))) if self._daemon.running else []
        if below:
            found = [child for pid, _ in found for child in children(pid)]
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found[int(draw * len(found))][0], signal.SIGKILL)
            self._world.counts["children killed"] += 1


ROUGH: dict[Trouble, int] = {Troubles.killed: 4, Troubles.killed_young: 2, Troubles.restarted: 3}
"""What ends the daemon, and how often each is done."""

WEIGHTS: dict[Trouble, int] = {
    Troubles.worker_killed: 2,
    Troubles.child_killed: 4,
    Troubles.hook_killed: 3,
    Troubles.clock_set: 6,
}
"""The rest."""


def _is_worker(child: tuple[int, bytes]) -> bool:
    return b"workers/worker.py" in child[1]


def _is_reaper(child: tuple[int, bytes]) -> bool:
    return b"process/reaper.py" in child[1]


def _is_media_child(child: tuple[int, bytes]) -> bool:
    return b"povwatch.media.child" in child[1]


def children(pid: int) -> Iterator[tuple[int, bytes]]:
    """The processes that a process started, with their command lines."""
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(tasks).split():
            yield int(child), _read(Path(f"/proc/{int(child)}/cmdline"))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # gone meanwhile
        return b""
