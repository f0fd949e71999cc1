"""The bridge: `povwatch pool`. It connects the daemon with a Ray cluster, and is the only driver there.

One asyncio loop runs it. Three tasks go on for as long as it lives:

    _meet_daemon   keeps the control connection: hears what is wanted, and reports every few seconds
    _meet_cluster  connects to the cluster, and follows its nodes
    _scale         asks for workers and ends them; each is a task of its own (worker.py)

Ray ends this process when the head has been away for a minute (supervise.py starts another one). Whatever ran in the
cluster then ends too, and the daemon gives those clips back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from typing import TYPE_CHECKING

from povwatch import __version__
from povwatch.bridge.line import Line
from povwatch.bridge.losses import Unreachable
from povwatch.bridge.nodes import Needs, Nodes
from povwatch.bridge.scaling import plan
from povwatch.bridge.worker import Daemon, Pool, PoolWorker
from povwatch.core.errors import MachineError
from povwatch.core.events import say
from povwatch.core.retry import backoff
from povwatch.process import protocol
from povwatch.remote.address import socket_path

if TYPE_CHECKING:
    from povwatch.bridge.cluster import Cluster
    from povwatch.config.settings import Config
    from povwatch.process.protocol import Ended

REPORT = 5.0
"""Seconds between two reports."""

TURN = 0.5
"""Seconds between two looks at what is wanted, when nothing calls for one."""

NODES_EVERY = 2.0
"""Seconds between two looks at the nodes."""

HEAD_SECONDS = 10.0
"""Seconds without an answer after which the head counts as away."""

RECONNECT = 1.0
"""Seconds between two tries to reach the daemon."""

NO_ROOM = 15.0
"""Seconds that a worker is asked for in vain before people are told."""

STOP_SECONDS = 5.0
"""Seconds for the workers to end."""

SHARED_FREE = 100_000_000
"""Bytes that a node's state folder needs where clips are in a shared folder: what is compiled there."""


class Bridge:
    """Runs until it is told to stop."""

    def __init__(self, config: Config, cluster: Cluster) -> None:
        pool = config.pool
        self._config = config
        self._cluster = cluster
        streams = pool.files == "stream"
        self._nodes = Nodes(
            cluster,
            needs(config),
        )
        self._daemon = Daemon()
        self._pool = Pool(
            cluster=cluster,
            nodes=self._nodes,
            socket=socket_path(config),
            state=str(config.paths.state),
            gpus=pool.gpus_per_worker,
            streams=streams,
            daemon=self._daemon,
        )
        self._workers: dict[str, PoolWorker] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._wanted: protocol.Wanted | None = None
        """What the daemon wants; None while there is none."""
        self._rests: dict[str, float] = {}
        """Nodes that rest, to the time when that ends."""
        self._daemon_left_at = time.monotonic()
        self._connected = asyncio.Event()
        self._problem = ""
        """Why the cluster cannot be used; empty if it can."""
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._refusal = ""
        """Why the daemon does not take us."""
        self._failures = 0
        self._ask_after = 0.0
        self._begun = secrets.token_hex(4)
        self._counted = 0

    async def run(self) -> None:
        """Run until a signal.

        Raises:
            MachineError: the daemon does not take this bridge.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        say("bridge-started", version=__version__, ray=self._cluster.version, socket=self._pool.socket, pid=os.getpid())
        tasks = [asyncio.create_task(part()) for part in (self._meet_daemon, self._meet_cluster, self._scale)]
        stopped = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            for worker in self._workers.values():
                worker.end("The bridge to the pool was stopped.")
            if self._lives:
                await asyncio.wait(self._lives.values(), timeout=STOP_SECONDS)
        if self._refusal:
            raise MachineError(f"The daemon does not take this bridge: {self._refusal}")
        say("bridge-stopped")

    # -- the daemon

    async def _meet_daemon(self) -> None:
        said = False
        while True:
            try:
                line = await Line.open(self._pool.socket)
            except OSError as error:
                if not said:
                    say("bridge-waits", socket=self._pool.socket, problem=error.strerror or error)
                said = True
                await asyncio.sleep(RECONNECT)
                continue
            try:
                said = await self._serve(line) or said
            except protocol.ProtocolError as error:
                say("bridge-misunderstood", problem=error)
                await asyncio.sleep(RECONNECT)
            finally:
                self._wanted, self._daemon_left_at = None, time.monotonic()
                self._daemon.left()
                await line.close()

    async def _serve(self, line: Line) -> bool:
        """Speak with the daemon until it is gone; whether that was said."""
        line.send(
            protocol.BridgeHello(
                __version__, os.getpid(), self._cluster.version, self._cluster.address or "this machine"
            )
        )
        reports = asyncio.create_task(self._report(line))
        taken = False
        try:
            while (message := await line.receive()) is not None:
                if isinstance(message, protocol.Refused):
                    self._refusal = message.why
                    self._stop.set()
                elif isinstance(message, protocol.Wanted):
                    if not taken:
                        say("bridge-taken", socket=self._pool.socket)
                        self._daemon.came()
                    taken = True
                    now = time.monotonic()
                    self._rests = {node: now + seconds for node, seconds in message.rests.items()}
                    self._wanted = message
                    self._changed.set()
        finally:
            reports.cancel()
        if taken:
            say("bridge-alone", socket=self._pool.socket)
        return taken

    async def _report(self, line: Line) -> None:
        last, at = None, 0.0
        while True:
            report, now = self._state(), time.monotonic()
            if report != last or now - at >= REPORT:
                line.send(report)
                last, at = report, now
            await asyncio.sleep(TURN)

    def _state(self) -> protocol.PoolReport:
        """What the daemon is told of the cluster."""
        placed = [worker for worker in self._workers.values() if worker.node is not None]
        nodes = [
            {
                "id": node.id,
                "name": node.name,
                "gpus": node.gpus,
                "workers": sum(worker.node is node for worker in placed),
                "problem": node.problem,
            }
            for node in self._nodes
        ]
        return protocol.PoolReport(nodes, len(self._workers), len(placed), self._problems())

    def _problems(self) -> list[str]:
        """Why there are no workers, or fewer than asked for."""
        if self._problem:
            return [self._problem]
        if self._wanted is None or not self._wanted.workers:
            return []
        nodes, each = list(self._nodes), self._config.pool.gpus_per_worker
        if nodes and all(node.gpus < each for node in nodes):
            count = "its one node" if len(nodes) == 1 else f"none of its {len(nodes)} nodes"
            has = "does not have" if len(nodes) == 1 else "has"
            gpus = "a GPU" if each == 1 else f"{each} GPUs"
            return [
                f"The cluster has no room: {count} {has} {gpus}. Join one: script/pool-node, on a machine with a GPU."
            ]
        refused = [node.problem for node in nodes if time.monotonic() < node.refused_until]
        waiting = [worker for worker in self._workers.values() if worker.node is None]
        if not refused and waiting and time.monotonic() - min(one.since for one in waiting) > NO_ROOM:
            return [f"{len(waiting)} more worker(s) are asked for, and no GPU of the cluster is free."]
        return refused

    # -- the cluster

    async def _meet_cluster(self) -> None:
        failures = 0
        while True:
            try:
                note = await asyncio.to_thread(self._cluster.connect)
            except Unreachable as error:
                failures += 1
                if self._problem != str(error):
                    say("bridge-unreachable", problem=error)
                self._problem = str(error)
                await asyncio.sleep(backoff(failures))
                continue
            break
        if note:
            say("bridge-open", problem=note)
        self._problem = ""
        while True:
            looking = asyncio.create_task(asyncio.to_thread(self._cluster.nodes))
            done, _ = await asyncio.wait([looking], timeout=HEAD_SECONDS)
            if not done:
                self._problem = "The cluster's head does not answer. Workers that run go on for a minute."
                say("bridge-unreachable", problem=self._problem)
            self._nodes.update(await looking)
            self._problem = ""
            if not self._connected.is_set():
                say("bridge-connected", address=self._cluster.address or "this machine", nodes=len(list(self._nodes)))
                self._connected.set()
            self._changed.set()
            await asyncio.sleep(NODES_EVERY)

    # -- workers

    async def _scale(self) -> None:
        await self._connected.wait()
        while True:
            self._change()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), TURN)
            self._changed.clear()

    def _change(self) -> None:
        """Ask for workers, and end some."""
        now = time.monotonic()
        if self._wanted is None and now - self._daemon_left_at < self._config.pool.idle:
            return  # it may be back soon, and wants them all
        wanted = self._wanted.workers if self._wanted is not None else 0
        rests = {node for node, until in self._rests.items() if now < until}
        avoid = self._nodes.refused(now) | rests
        asked = [worker.asked for worker in self._workers.values() if not worker.ending]
        what = plan(asked, wanted, avoid=avoid, idle=self._config.pool.idle, now=now)
        for name in what.end:
            self._workers[name].end("It was not needed any more.")
        if self._wanted is not None and now >= self._ask_after:
            for _ in range(what.ask):
                self._ask(self._wanted.engine, avoid)

    def _ask(self, engine: str, avoid: frozenset[str]) -> None:
        self._counted += 1
        name = f"{self._begun}-{self._counted}"
        worker = PoolWorker(name, self._pool, engine, avoid)
        self._workers[name] = worker
        self._lives[name] = asyncio.create_task(self._live(worker))

    async def _live(self, worker: PoolWorker) -> None:
        try:
            ended = await worker.run()
            await self._learn(worker, ended)
        finally:
            del self._workers[worker.name], self._lives[worker.name]
            self._changed.set()

    async def _learn(self, worker: PoolWorker, ended: Ended) -> None:
        """Do not ask again at once if workers cannot begin at all."""
        if worker.node is not None:
            say(
                "bridge-worker-gone",
                worker=worker.name,
                node=worker.node.name,
                reason=ended.reason,
                detail=ended.detail,
            )
        if worker.loaded:
            self._failures = 0
        elif ended.reason != "stopped" or worker.node is not None:
            if worker.node is None and await self._nodes.find_who_lacks_povwatch():
                return
            if worker.node is not None and worker.node.id in self._nodes.refused(time.monotonic()):
                return
            if ended.reason != "stopped":
                self._failures += 1
                self._ask_after = time.monotonic() + backoff(self._failures)
                if worker.node is None:
                    say("bridge-worker-lost", problem=ended.detail, seconds=round(backoff(self._failures)))


def needs(config: Config) -> Needs:
    """What every node needs for these settings."""
    streams = config.pool.files == "stream"
    return Needs(
        runtime=runtime(config),
        outputs=None if streams else config.paths.outputs,
        free=config.disk.reserve if streams else SHARED_FREE,
    )


def runtime(config: Config) -> str:
    """The engine's interpreter on the nodes; empty for that of their own povwatch."""
    return config.pool.runtime or (str(config.engine.python) if config.engine.kind == "cosmos" else "")
