"""One worker of the pool: an actor from when the cluster is asked for it until it is gone, and its line to the daemon.

    asked       the cluster has no room yet, or is starting a node
    placed      its node is looked at (nodes.py); then it waits until no other worker of the node loads
    loading     the worker's process runs; the daemon was offered it and sends Load
    idle, busy  as for a local worker: what the daemon says goes to the worker, and the other way round
    gone        told to the daemon with Ended, and why

If the daemon is gone the worker leaves its job and keeps its engine, and is offered again once a daemon is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch.bridge import paths
from povwatch.bridge.line import Line
from povwatch.bridge.losses import Broken, Lost
from povwatch.bridge.nodes import Node, Nodes, Refused
from povwatch.bridge.scaling import Asked
from povwatch.bridge.scratch import CHUNKS, WORK
from povwatch.bridge.transfer import Transfer, TransferFailed, chunks_in
from povwatch.core.command import worker_environment
from povwatch.core.events import say
from povwatch.process import protocol
from povwatch.process.protocol import Ended
from povwatch.process.start import describe_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from povwatch.bridge.cluster import Actor, Cluster

SILENCE = 30.0
"""Seconds without a sign of life after which an actor counts as lost, whatever Ray says."""

PING = 10.0
"""Seconds between two signs of life of ours for the actor."""

START_SECONDS = 60.0
"""Seconds for a worker's process to be started."""

EXIT_SECONDS = 20.0
"""Seconds for a worker to end by itself."""

CERTAINTY = 5.0
"""Seconds to find out what became of an actor whose connection broke."""

DAEMON_AWAY = 3.0
"""Seconds after the end of a line in which the daemon's own end shows; else the daemon has given up this worker."""

CHUNKS_EVERY = 5.0
"""Seconds between two looks for finished chunks on the node."""

CHUNKS_LAST = 20.0
"""Seconds for the chunks of a worker that has died to be fetched."""

ENDS = (protocol.Generated, protocol.Blocked, protocol.Failed, protocol.Cancelled)
"""The messages that end a job."""


@dataclass(slots=True)
class _Job:
    """The job under way."""

    request: protocol.Generate
    node_folders: dict[str, str] = field(default_factory=dict)
    """Its folders on the node, where files are streamed; see Scratch.begin."""
    told: bool = False
    """Whether the worker has it."""
    chunk: int = 0
    """Finished chunks."""
    dropped: bool = False
    """Whether the daemon that asked for it is gone."""


@dataclass(frozen=True, slots=True)
class Pool:
    """What all workers share."""

    cluster: Cluster
    nodes: Nodes
    socket: Path
    """The daemon's."""
    state: str
    """The daemon's state folder."""
    gpus: int
    """GPUs of each worker."""
    streams: bool
    """Whether files are streamed."""
    daemon: Daemon


class Daemon:
    """Whether there is a daemon: the control connection sets this."""

    def __init__(self) -> None:
        self.here = asyncio.Event()
        self.times = 0
        """How often one has come."""

    def came(self) -> None:
        """There is a daemon that has taken us."""
        self.times += 1
        self.here.set()

    def left(self) -> None:
        """It is gone."""
        self.here.clear()


class PoolWorker:
    """One worker of the pool. `run` is its life."""

    def __init__(self, name: str, pool: Pool, engine: str, avoids: frozenset[str]) -> None:
        """Ask the cluster for it.

        Args:
            name: no other worker ever has it.
            pool: what all share.
            engine: see Launch.engine.
            avoids: ids of nodes where it may not be.
        """
        self.name = name
        self.node: Node | None = None
        self.since = time.monotonic()
        """When it was asked for."""
        self.loaded = False
        """Whether it has ever had its engine loaded."""
        self._pool = pool
        self._engine = engine
        self._avoids = avoids
        self._actor: Actor = pool.cluster.ask(pool.gpus, avoids)
        self._over: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._line: Line | None = None
        self._pid = 0
        self._gpus: list[str] = []
        self._slot: int | None = None
        self._holds_load = False
        self._config: dict[str, Any] | None = None
        """The load's configuration as the daemon gave it; None before that."""
        self._capabilities: dict[str, Any] | None = None
        self._settled = asyncio.Event()
        """Whether the load is over, or has not begun."""
        self._settled.set()
        self._job: _Job | None = None
        self._carrying: asyncio.Task[None] | None = None
        self._outbox: asyncio.Queue[bytes] = asyncio.Queue()
        self._transfer: Transfer | None = None
        self._chunks_due = asyncio.Event()
        self._idle_since = time.monotonic()
        self._fetching = asyncio.Lock()
        """Held while chunks are fetched, or a job's files on the node are deleted."""
        self._signals: set[asyncio.Task[None]] = set()
        self._asked_to_end = False

    # -- what the bridge sees

    @property
    def asked(self) -> Asked:
        """It, for scaling."""
        could_end = self._job is None and self._settled.is_set()
        return Asked(self.name, self.node is not None, self._avoids, self._idle_since if could_end else None)

    @property
    def ending(self) -> bool:
        """Whether it ends already."""
        return self._over.done()

    def end(self, detail: str) -> None:
        """End it. `detail` says why, as a sentence."""
        self._finish("stopped", None, detail)

    async def run(self) -> Ended:
        """Live; return how it ended."""
        try:
            async with contextlib.AsyncExitStack() as tasks:
                self._start(tasks, self._live)
                ended = await self._over
            if self._line is not None:
                self._line.send(ended)
                await self._line.close()
        finally:
            self._leave_load()
            if self._carrying is not None:
                self._carrying.cancel()
            asyncio.get_running_loop().run_in_executor(None, self._actor.kill)  # it waits for a head that is away
            if self.node is not None and self._slot is not None:
                self.node.slots.discard(self._slot)
        return ended

    # -- its life

    async def _live(self) -> None:
        about = await self._actor.about()
        node = self._pool.nodes.get(about["node"], about["name"])
        self.node = node
        if node.id in self._avoids:
            raise Refused(node.problem)
        async with contextlib.AsyncExitStack() as tasks:
            self._start(tasks, self._ping)  # without a sign of life the actor ends, and loads may take long
            await self._pool.nodes.admit(node, self._actor, about, self._engine)
            await node.loading.acquire()
            self._holds_load = True
            await self._begin(node)
            for part in (self._listen, self._tell, self._offer, self._follow_chunks):
                self._start(tasks, part)
            await self._over

    async def _begin(self, node: Node) -> None:
        """Have the worker's process started."""
        self._slot = node.take_slot()
        starting = self._actor.call("start", node.runtime, self._engine, worker_environment(), [node.state])
        try:
            self._pid, self._gpus = await asyncio.wait_for(starting, START_SECONDS)
        except Broken as broken:
            if not broken.passing:
                self._pool.nodes.refuse(node, f"{node.name}: the worker cannot be started: {broken}")
            raise
        if self._pool.streams:
            self._transfer = Transfer(lambda *arguments: self._actor.call("files", *arguments), node.name)
        say("bridge-worker-placed", worker=self.name, node=node.name, pid=self._pid)

    def _start(self, tasks: contextlib.AsyncExitStack, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a part of its life until the block ends. What the part raises ends the worker."""

        async def guarded() -> None:
            try:
                await part()
            except Lost as loss:
                self._finish(loss.reason, None, loss.detail)
            except Refused as refusal:
                self._finish("stopped", None, str(refusal))
            except Broken as broken:
                await self._find_out(broken)
            except TransferFailed as failure:
                self._finish("files", None, str(failure))
            except TimeoutError:
                self._finish("network", None, f"{self._where()} does not answer.")
            except Exception as error:  # noqa: BLE001 - whatever it is, it costs this worker and no other
                say("bridge-unforeseen", worker=self.name, exc_info=error)
                self._finish("actor", None, f"The bridge failed: {type(error).__name__}: {error}")

        task = asyncio.create_task(guarded())
        tasks.push_async_callback(_cancelled, task)

    async def _find_out(self, broken: Broken) -> None:
        """Decide what it means that a call did not come through."""
        if not broken.passing:
            self._finish("actor", None, f"Its actor failed: {broken}")
            return
        reason, detail = "network", f"The connection to {self._where()} broke."
        try:
            await asyncio.wait_for(self._actor.call("ping"), CERTAINTY)
        except Lost as loss:
            reason, detail = loss.reason, loss.detail
        except (Broken, TimeoutError):
            pass
        if reason != "node" and self.node is not None and not await self._node_lives():
            reason, detail = "node", f"{self._where()} is gone."
        self._finish(reason, None, detail)

    async def _node_lives(self) -> bool:
        with contextlib.suppress(TimeoutError):
            nodes = await asyncio.wait_for(asyncio.to_thread(self._pool.cluster.nodes), CERTAINTY)
            return self.node is not None and any(one.id == self.node.id for one in nodes)
        return True

    def _finish(self, reason: str, returncode: int | None, detail: str) -> None:
        if not self._over.done():
            self._over.set_result(Ended(reason, returncode, detail))

    def _where(self) -> str:
        return self.node.name if self.node is not None else "its node"

    # -- the worker

    async def _listen(self) -> None:
        """Take what the worker says."""
        stream: AsyncIterator[list[list[Any]]] = self._actor.says()
        while not self._over.done():
            try:
                items = await asyncio.wait_for(anext(stream), SILENCE)
            except TimeoutError:
                self._finish("network", None, f"Nothing was heard of {self._where()} for {SILENCE:g} s.")
                return
            except StopAsyncIteration:
                self._finish("actor", None, "Its actor ended.")
                return
            for kind, *rest in items:
                if kind == "line":
                    self._heard(protocol.decode(rest[0])[0])
                elif kind == "printed":
                    self._to_daemon(protocol.Output(rest[0]))
                else:
                    await self._exited(*rest)

    async def _exited(self, returncode: int | None, left: list[str]) -> None:
        """The worker's process is gone."""
        if self._carrying is not None and not self._carrying.done():
            await asyncio.wait([self._carrying], timeout=CHUNKS_LAST)  # an artifact may be on its way
        await self._last_chunks()
        if self._job is not None and self._transfer is not None:
            with contextlib.suppress(TransferFailed, Lost):
                await self._transfer.end(self._job.request.run_id)
        detail = f"It left {', '.join(left)} behind, which was ended." if left else ""
        if self._asked_to_end:
            self._finish("stopped", returncode, detail)
        elif returncode is None:
            self._finish("exited", None, "The process that watches over it was killed.")
        else:
            self._finish("exited", returncode, detail or f"It {describe_end(returncode)}.")

    def _heard(self, message: protocol.Message) -> None:
        """Pass on a message of the worker."""
        if isinstance(message, protocol.Loaded):
            self._capabilities = message.capabilities
            self.loaded = True
            self._leave_load()
        elif isinstance(message, protocol.LoadFailed):
            self._leave_load()
        job = self._job
        if job is None or getattr(message, "run_id", None) != job.request.run_id:
            self._to_daemon(message)
            return
        if isinstance(message, protocol.Progress) and message.chunk > job.chunk:
            job.chunk = message.chunk
            self._chunks_due.set()
        if not isinstance(message, ENDS):
            self._to_daemon(message)
        elif self._transfer is not None:
            self._carrying = self._carry(self._bring(job, message, self._transfer))
        else:
            self._end_job(job, message)

    def _end_job(self, job: _Job, message: protocol.Message) -> None:
        if not job.dropped:
            self._to_daemon(message)
        self._job = None
        self._idle_since = time.monotonic()

    async def _tell(self) -> None:
        """Send the worker what waits for it, in order."""
        while True:
            lines = [await self._outbox.get()]
            while not self._outbox.empty():
                lines.append(self._outbox.get_nowait())
            if not await self._actor.call("tell", lines):
                self._finish("exited", None, "It does not read any more.")

    async def _ping(self) -> None:
        while True:
            await asyncio.sleep(PING)
            await self._actor.call("ping")

    def _to_worker(self, message: protocol.Message) -> None:
        self._outbox.put_nowait(protocol.encode(message, 1))

    def _leave_load(self) -> None:
        self._settled.set()
        if self._holds_load and self.node is not None:
            self.node.loading.release()
            self._holds_load = False
            self._idle_since = time.monotonic()

    # -- the daemon

    async def _offer(self) -> None:
        """Offer the worker to the daemon, and to each that comes after it."""
        daemon = self._pool.daemon
        while True:
            await daemon.here.wait()
            if not self._settled.is_set() or self._job is not None:  # what an earlier daemon had begun
                await asyncio.sleep(0.1)
                continue
            times = daemon.times
            try:
                line = await Line.open(self._pool.socket)
            except OSError:
                await asyncio.sleep(1.0)
                continue
            await self._serve(line)
            self._leave_job()
            deadline = time.monotonic() + DAEMON_AWAY
            while daemon.times == times and daemon.here.is_set():
                if time.monotonic() >= deadline:
                    self._finish("stopped", None, "The daemon has given it up.")
                    return
                await asyncio.sleep(0.1)

    async def _serve(self, line: Line) -> None:
        """Speak with the daemon until it is gone."""
        where = (self.node.id, self.node.name) if self.node is not None else ("", "")
        config = self._config if self._capabilities is not None else None
        line.send(protocol.Offer(self.name, *where, self._gpus, self._pid, self._engine, config, self._capabilities))
        self._line = line
        try:
            while (message := await line.receive()) is not None:
                self._asked(message)
        finally:
            if not self._over.done():
                self._line = None
                await line.close()

    def _asked(self, message: protocol.Message) -> None:
        """Do what the daemon asks for."""
        match message:
            case protocol.Load():
                self._config = message.config
                self._settled.clear()
                node = self.node
                state = node.state if node is not None else ""
                self._to_worker(protocol.Load(paths.on_node(message.config, self._pool.state, state, self._slot or 0)))
            case protocol.Generate():
                self._job = _Job(message)
                if self._transfer is None:
                    self._job.told = True
                    self._to_worker(message)
                else:
                    self._carrying = self._carry(self._send(self._job, self._transfer))
            case protocol.Cancel() if self._job is not None and self._job.request.run_id == message.run_id:
                self._cancel(self._job, message)
            case protocol.Shutdown():
                self._asked_to_end = True
                self._to_worker(message)
                asyncio.get_running_loop().call_later(EXIT_SECONDS, self.end, "It did not end by itself.")
            case protocol.Signal(signal.SIGKILL):
                self._finish("stopped", None, "The daemon asked for it.")
            case protocol.Signal():
                signalling = asyncio.create_task(self._signal(message.number))
                self._signals.add(signalling)
                signalling.add_done_callback(self._signals.discard)
            case protocol.Refused():
                self._finish("stopped", None, message.why)
            case _:
                self._to_worker(message)

    async def _signal(self, number: int) -> None:
        with contextlib.suppress(Lost, Broken):
            await self._actor.call("signal", number)

    def _cancel(self, job: _Job, message: protocol.Cancel) -> None:
        if job.told:
            self._to_worker(message)
            return
        if self._carrying is not None:
            self._carrying.cancel()
        self._end_job(job, protocol.Cancelled(message.job_id, message.run_id))

    def _leave_job(self) -> None:
        """The daemon is gone: leave its job. What the worker answers is dropped."""
        job = self._job
        if job is not None and not self._over.done():
            job.dropped = True
            self._cancel(job, protocol.Cancel(job.request.job_id, job.request.run_id, "The daemon is gone."))

    def _to_daemon(self, message: protocol.Message) -> None:
        if self._line is not None:
            self._line.send(message)

    # -- files, where they are streamed

    def _carry(self, what: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Carry files beside all else: heartbeats go on meanwhile."""

        async def guarded() -> None:
            try:
                await what
            except TransferFailed as failure:
                self._finish("files", None, str(failure))
            except Lost as loss:
                self._finish(loss.reason, None, loss.detail)

        return asyncio.create_task(guarded())

    async def _send(self, job: _Job, transfer: Transfer) -> None:
        """Send what the job needs, and give it to the worker."""
        request = job.request
        needed = paths.needed(request.job, request.workdir)
        files = {name: await transfer.send(f"{request.workdir}/{name}") for name in needed}
        found = await asyncio.to_thread(chunks_in, request.checkpoint_dir)
        chunks = {name: await transfer.send(f"{request.checkpoint_dir}/{name}") for name in found}
        job.node_folders = await transfer.begin(request.run_id, files, chunks)
        work, there = job.node_folders[WORK], job.node_folders[CHUNKS]
        moved = paths.moved(request.job, request.workdir, work)
        job.told = True
        self._to_worker(protocol.Generate(moved, request.run_id, work, there))

    async def _bring(self, job: _Job, message: protocol.Message, transfer: Transfer) -> None:
        """Bring what the job has made before the daemon hears of its end."""
        request = job.request
        if isinstance(message, protocol.Generated) and not job.dropped:
            work = job.node_folders[WORK]
            try:
                for name in paths.made(message.artifact, work):
                    await transfer.fetch(request.run_id, WORK, name, request.workdir)
            except ValueError as error:
                message = protocol.Failed(request.job_id, request.run_id, "error", str(error), "")
            else:
                artifact = paths.moved(message.artifact, work, request.workdir)
                message = protocol.Generated(request.job_id, request.run_id, artifact)
        elif isinstance(message, protocol.Failed):
            await self._last_chunks()
        async with self._fetching:
            self._end_job(job, message)
            await transfer.end(request.run_id)

    async def _follow_chunks(self) -> None:
        """Fetch finished chunks as they come, so that another node can go on with the next one."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._chunks_due.wait(), CHUNKS_EVERY)
            self._chunks_due.clear()
            try:
                problem = await self._fetch_chunks()
            except TransferFailed as failure:
                problem = str(failure)
            if problem:
                say("bridge-chunk-waits", worker=self.name, problem=problem)

    async def _last_chunks(self) -> None:
        with contextlib.suppress(Lost, Broken, TransferFailed, TimeoutError):
            await asyncio.wait_for(self._fetch_chunks(), CHUNKS_LAST)

    async def _fetch_chunks(self) -> str:
        """See Transfer.fetch_chunks."""
        async with self._fetching:
            job, transfer = self._job, self._transfer
            if job is None or transfer is None or not job.told or job.dropped:
                return ""
            return await transfer.fetch_chunks(job.request.run_id, job.request.checkpoint_dir)


async def _cancelled(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for it."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
