"""Brings the workers of other machines into the pool, and says how many of them are wanted.

`povwatch pool`, the bridge, says on its control connection what the cluster has, and is told what is wanted. It offers
each worker on a connection of its own. A worker whose engine is loaded already, because this daemon was started anew,
goes on at once; another one loads it first. From then on the pool and the run stage see a worker like any other.

If the bridge is gone or silent, so are all its workers: their jobs are given back, and it may come again at any time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch import __version__
from povwatch.core.blockers import Blocker
from povwatch.core.command import command
from povwatch.core.events import say
from povwatch.core.job import JobState, Waiting
from povwatch.core.sentences import joined
from povwatch.core.stage import JobListener
from povwatch.core.units import spell_duration
from povwatch.process import protocol
from povwatch.remote.address import socket_path
from povwatch.remote.connections import Connections
from povwatch.remote.process import SILENCE, RemoteProcess
from povwatch.workers.events import storable
from povwatch.workers.states import SupervisorState
from povwatch.workers.supervisor import ASLEEP

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.config.settings import Config
    from povwatch.core.blockers import Blockers
    from povwatch.core.clock import Clock
    from povwatch.journal.store import JobStore
    from povwatch.remote.connections import Connection
    from povwatch.workers.launch import Launch
    from povwatch.workers.pool import WorkerPool

LISTEN_AGAIN = 30.0
"""Seconds until the socket is made again, after that failed."""

EVERY = 1.0
"""Seconds between two turns without a message."""

REWORDED = 15.0
"""Seconds between two changes of what the waiting clips are said to wait for."""

INTRODUCTION = 10.0
"""Seconds for a new connection to say what it is."""

FAREWELL = 30.0
"""Seconds for a worker that is not wanted to end, before its connection is closed."""

GIVEN_UP = {"bridge": 20.0, "workers": 600.0}
"""Seconds, for each failure that engine.attempts allows, until --once no longer waits for the bridge, or for a worker
of a cluster that reports problems."""

_NUMBER = re.compile(r"\d+")

_AT_WORK = (SupervisorState.LOADING, SupervisorState.READY, SupervisorState.BUSY)


@dataclass(slots=True)
class Bridge:
    """The bridge that is connected."""

    connection: Connection
    hello: protocol.BridgeHello
    report: protocol.PoolReport | None = None
    told: tuple[int, frozenset[str]] | None = None
    """What of Wanted it was told last: how many workers, and which nodes rest."""
    problems: set[str] = field(default_factory=set)
    """The problems that the log has, without their numbers."""


class RemoteWorkers(JobListener):
    """The workers on other machines: their arrival. The pool has them afterwards."""

    def __init__(
        self,
        config: Config,
        launch: Launch,
        *,
        pool: WorkerPool,
        clock: Clock,
        wake: Callable[[], None],
    ) -> None:
        """Nothing is listened to yet.

        Args:
            launch: how a worker there is started.
            wake: wakes the loop, from a thread.
        """
        self._config = config
        self._launch = launch
        self._pool = pool
        self._clock = clock
        self._wake = wake
        self._path = socket_path(config)
        self._connections: Connections | None = None
        self._listen_at = 0.0
        self._unheard = ""
        """Why there is no socket; empty if there is."""
        self._bridge: Bridge | None = None
        self._new: dict[Connection, float] = {}
        """Connections that have said nothing yet, and since when they exist."""
        self._processes: list[RemoteProcess] = []
        self._leaving: dict[Connection, float] = {}
        """Connections of workers that were told to end, and when that was."""
        self._wanted = 0
        self._ticked_at = 0.0
        self._judged_from = 0.0
        """When the bridge may be judged silent at the earliest."""
        self.blocker: Blocker | None = None
        """Why no machine has a worker, while clips wait for one and this machine has none itself."""
        self._away_since = 0.0
        """Since when there is a blocker."""
        self._worded_at = 0.0
        """When the blocker got its present words."""

    # -- its turns

    def start(self) -> None:
        """Listen. If that fails, it is tried again."""
        self._ticked_at = self._clock.boot()
        self._listen(self._ticked_at)

    def tick(self, now: float) -> None:
        """Handle what came, and tell the bridge what is wanted."""
        if now - self._ticked_at > ASLEEP:  # nothing ran here: what came meanwhile is read first
            self._judged_from = now + ASLEEP
        self._ticked_at = now
        if self._connections is not None and not self._connections.alive:
            self.close()
        if self._connections is None and now >= self._listen_at:
            self._listen(now)
        self._hear_bridge(now)
        if self._connections is not None:
            self._new.update(dict.fromkeys(self._connections.take_new(), now))
        self._introduce(now)
        self._part(now)
        self._tell_wanted(now)
        self._note_missing(now)

    def next_deadline(self) -> float | None:
        """Its next turn."""
        return self._ticked_at + EVERY

    def want(self, many: int) -> None:
        """Have the cluster asked for so many workers, those that exist included."""
        self._wanted = many

    def hang_up(self, why: str) -> None:
        """Leave all workers to the bridge, for the next daemon; their jobs are given back with the next poll."""
        for process in self._processes:
            process.hang_up(why)
        if self._bridge is not None:
            self._bridge.connection.hang_up()

    def close(self) -> None:
        """Close the socket."""
        if self._connections is not None:
            self._connections.close()
            self._connections = None

    # -- its state

    @property
    def at_work(self) -> int:
        """The number of workers on other machines that have a job."""
        return sum(worker.active is not None for worker in self._pool.remote)

    def given_up(self, times: int) -> bool:
        """Whether no machine has had a worker for so long that none is to be expected."""
        if self.blocker is None:
            return False
        reported = self._bridge is not None and self._bridge.report is not None and self._bridge.report.problems
        if self._bridge is not None and not reported:
            return False  # a machine may be on its way
        return self._clock.boot() - self._away_since >= times * GIVEN_UP["workers" if self._bridge else "bridge"]

    def facts(self) -> dict[str, Any]:
        """The pool, for `status`."""
        bridge, resting = self._bridge, self._pool.places.resting(self._clock.boot())
        report = bridge.report if bridge else None
        nodes = [
            {
                "name": storable(node["name"]),
                "gpus": node["gpus"],
                "workers": sum(
                    worker.place is not None and worker.place.id == node["id"] for worker in self._pool.remote
                ),
                "problem": storable(node["problem"]),
                "rests": node["id"] in resting,
            }
            for node in (report.nodes if report else ())
        ]
        return {
            "bridge": bridge.hello.pid if bridge else None,
            "address": storable(bridge.hello.address) if bridge else None,
            "wanted": self._wanted,
            "problems": self._problems(),
            "nodes": nodes,
        }

    def _note_missing(self, now: float) -> None:
        """Keep the blocker up to date. Its words go into the journal for each waiting clip, so they seldom change."""
        problem = self._missing()
        if problem is None:
            self.blocker = None
        elif self.blocker is None or (self.blocker.problem != problem and now >= self._worded_at + REWORDED):
            self._away_since = self._away_since if self.blocker else now
            self._worded_at = now
            self.blocker = Blocker(Waiting.WORKERS_AWAY, problem)

    def _missing(self) -> str | None:
        """Why no machine has a worker although one is wanted, as sentences; None if one has or none is wanted."""
        there = self._pool.local or any(worker.supervisor.state in _AT_WORK for worker in self._pool.remote)
        if there or not self._wanted:
            return None
        problems = self._problems()
        return (
            joined(*problems) if problems else "No machine of the pool has a worker yet; the cluster is asked for them."
        )

    def _problems(self) -> list[str]:
        if self._unheard:
            return [self._unheard]
        if self._bridge is None:
            return [f"The bridge to the pool does not run, so no other machine is used. Start it: {command('pool')}"]
        return [storable(problem) for problem in self._bridge.report.problems] if self._bridge.report else []

    # -- the socket

    def _listen(self, now: float) -> None:
        try:
            self._connections = Connections(self._path, clock=self._clock.boot, wake=self._wake)
            self._unheard = ""
        except OSError as error:
            self._listen_at = now + LISTEN_AGAIN
            problem = f"The socket {self._path} cannot be made: {error.strerror}."
            if problem != self._unheard:
                say("pool-unheard", problem=problem, at=self._clock.spell(self._listen_at))
            self._unheard = problem

    # -- the bridge

    def _hear_bridge(self, now: float) -> None:
        bridge = self._bridge
        if bridge is None:
            return
        taken, over = bridge.connection.take()
        for _, message in taken:
            if isinstance(message, protocol.PoolReport):
                self._heed(bridge, message)
            else:
                over = over or f"It sent {message.type}, which is not for it to send."
        silent = now - bridge.connection.heard_at
        if over is None and silent >= SILENCE and now >= self._judged_from:
            over = f"It said nothing for {spell_duration(silent)}."
        if over is not None:
            self._lose_bridge(bridge, over)

    def _heed(self, bridge: Bridge, report: protocol.PoolReport) -> None:
        """Log what is new in a report."""
        bridge.report = report
        found: set[str] = set()
        nodes = sorted({(node["name"], node["problem"]) for node in report.nodes if node["problem"]})
        for name, problem in [*(("", problem) for problem in report.problems), *nodes]:
            key = f"{name}: {_NUMBER.sub('', problem)}"
            if key not in bridge.problems | found and name:
                say("node-problem", node=storable(name), problem=storable(problem))
            elif key not in bridge.problems | found:
                say("pool-problem", problem=storable(problem))
            found.add(key)
        if bridge.problems and not found:
            say("pool-well")
        bridge.problems = found

    def _lose_bridge(self, bridge: Bridge, why: str) -> None:
        """Give back what ran on other machines. The bridge may come again."""
        self._bridge = None
        bridge.connection.hang_up()
        for process in self._processes:
            process.hang_up("The bridge to the pool is gone.")
        say("bridge-gone", problem=storable(why), pid=bridge.hello.pid)

    def _tell_wanted(self, now: float) -> None:
        if self._bridge is None:
            return
        rests = self._pool.places.resting(now)
        told = (self._wanted, frozenset(rests))
        if told != self._bridge.told:
            self._bridge.told = told
            self._bridge.connection.send(protocol.Wanted(self._wanted, self._launch.engine, self._launch.config, rests))

    # -- new connections

    def _introduce(self, now: float) -> None:
        """Handle the first message of each new connection."""
        for connection, since in list(self._new.items()):
            first, over = connection.take_one()
            if first is None and over is None and now < since + INTRODUCTION:
                continue
            del self._new[connection]
            match first:
                case protocol.BridgeHello():
                    self._meet(connection, first, now)
                case protocol.Offer():
                    self._consider(connection, first, now)
                case _:
                    connection.hang_up()

    def _meet(self, connection: Connection, hello: protocol.BridgeHello, now: float) -> None:
        why = self._unlike(hello.povwatch, hello.protocol)
        if self._bridge is not None:
            why = f"Another bridge (pid {self._bridge.hello.pid}) offers workers already, and one is enough."
        if why:
            self._refuse(connection, why)
            return
        self._bridge = Bridge(connection, hello)
        say("bridge-here", pid=hello.pid, address=storable(hello.address), ray=storable(hello.ray))
        self._tell_wanted(now)

    @staticmethod
    def _unlike(version: str, spoken: int) -> str:
        if (version, spoken) == (__version__, protocol.VERSION):
            return ""
        return joined(
            f"It is povwatch {storable(version)} with protocol {spoken}, and the daemon is povwatch {__version__} with "
            f"protocol {protocol.VERSION}.",
            "povwatch was changed on disk: restart both.",
        )

    def _refuse(self, connection: Connection, why: str) -> None:
        say("bridge-refused", pid=connection.peer, problem=why)
        connection.send(protocol.Refused(why))
        connection.hang_up()

    def _consider(self, connection: Connection, offer: protocol.Offer, now: float) -> None:
        """Take a worker that is offered, or have it end."""
        if self._bridge is None or connection.peer != self._bridge.connection.peer:
            self._refuse(connection, "Only the bridge may offer workers, once it has said that it is there.")
            return
        place = self._pool.places.of(offer.node, storable(offer.node_name))
        loaded = offer.config is not None
        other = offer.engine != self._launch.engine or (loaded and offer.config != self._launch.config)
        if other or now < place.rests_until:
            connection.send(protocol.Shutdown())
            self._leaving[connection] = now
            return
        process = RemoteProcess(connection, offer, clock=self._clock.boot, bridge_heard_at=self._bridge_heard_at)
        self._processes.append(process)
        worker = self._pool.adopt(
            process,
            self._launch,
            place,
            gpu_names=[storable(name) for name in offer.gpus],
            capabilities=(offer.capabilities or {}) if loaded else None,
        )
        process.called = f"{worker.label[:1].upper()}{worker.label[1:]}"

    def _bridge_heard_at(self) -> float:
        return self._bridge.connection.heard_at if self._bridge is not None else 0.0

    def _part(self, now: float) -> None:
        """Forget what is over."""
        self._processes = [process for process in self._processes if not process.over]
        for connection, since in list(self._leaving.items()):
            taken, over = connection.take()
            ended = any(isinstance(message, protocol.Ended) for _, message in taken)
            if ended or over is not None or now >= since + FAREWELL:
                del self._leaving[connection]
                connection.hang_up()


class Demand(JobListener):
    """Asks for as many workers on other machines as there are clips for them."""

    def __init__(self, config: Config, *, store: JobStore, blockers: Blockers, remote: RemoteWorkers) -> None:
        self._most = config.pool.max
        self._store = store
        self._blockers = blockers
        self._remote = remote
        self._next = 0.0

    def tick(self, now: float) -> None:
        """Count them, each second."""
        if now < self._next:
            return
        self._next = now + EVERY
        many = 0 if self._blockers.starting() is not None else self._queued() + self._remote.at_work
        self._remote.want(min(many, self._most))

    def _queued(self) -> int:
        store = self._store
        if store.scope.clips is None:
            return store.counts[JobState.QUEUED]
        return sum(job.path in store.scope for job in store.in_state(JobState.QUEUED))
