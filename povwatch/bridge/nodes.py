"""The cluster's nodes: which there are, and which may have workers.

A node is looked at when the first actor is placed there: its povwatch, the engine's interpreter, its disk and clock,
and whether outputs/ is the same folder there. One that cannot work is refused in words, left out for a minute, and then
looked at again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from povwatch import __version__
from povwatch.bridge.host import NONCE_MAX, answer_name
from povwatch.core.errors import PovwatchError
from povwatch.core.events import say
from povwatch.core.layout import STAGING
from povwatch.core.units import spell_duration
from povwatch.files import atomic, fs, private
from povwatch.process import protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from povwatch.bridge.cluster import Actor, Cluster, NodeSeen

LOOK_AGAIN = 60.0
"""Seconds until a node that was refused may be looked at again."""

SKEW = 60.0
"""Seconds that a node's clock may differ from ours before people are told."""

LOOK_SECONDS = 90.0
"""Seconds for a node to be looked at."""

ANSWER_SECONDS = 10.0
"""Seconds until the answer to a canary is seen here: a network file system may show it late."""

CANARY = ".canary-"


class Refused(Exception):  # noqa: N818 - what happened
    """A node may have no worker; the text says why, as sentences for people."""


@dataclass(slots=True)
class Node:
    """A node of the cluster."""

    id: str
    name: str
    gpus: int
    """As Ray counts them."""
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a worker loads: loads of one node would fight for its disk and memory."""
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)
    admitted: bool = False
    problem: str = ""
    """Why it may have no worker, or what else is wrong with it; a sentence, or empty."""
    refused_until: float = 0.0
    failures: int = 0
    """Times in a row that a worker could not be started."""
    state: str = ""
    """Its state folder."""
    runtime: str = ""
    """The engine's interpreter."""
    slots: set[int] = field(default_factory=set)
    """The numbers of its workers."""

    def take_slot(self) -> int:
        """A number that no other worker of the node has."""
        slot = next(n for n in range(len(self.slots) + 1) if n not in self.slots)
        self.slots.add(slot)
        return slot


@dataclass(frozen=True, slots=True)
class Needs:
    """What every node needs."""

    runtime: str
    """The engine's interpreter; empty for that of Ray's own Python."""
    outputs: Path | None
    """outputs/, if it has to be shared."""
    free: int
    """Bytes in the node's state folder."""


class Nodes:
    """All nodes."""

    def __init__(self, cluster: Cluster, needs: Needs) -> None:
        self._cluster = cluster
        self._needs = needs
        self._by_id: dict[str, Node] = {}

    def __iter__(self) -> Iterator[Node]:
        return iter(self._by_id.values())

    def get(self, node_id: str, name: str = "") -> Node:
        """A node; one that was never seen yet is new."""
        return self._by_id.setdefault(node_id, Node(node_id, name or node_id[:8], 0))

    def update(self, seen: Collection[NodeSeen]) -> None:
        """Know which nodes live."""
        for one in seen:
            if one.id not in self._by_id:
                say("bridge-node-joined", node=one.name, gpus=one.gpus)
            node = self.get(one.id, one.name)
            node.name, node.gpus = one.name, one.gpus
        for gone in self._by_id.keys() - {one.id for one in seen}:
            say("bridge-node-gone", node=self._by_id.pop(gone).name)

    def refused(self, now: float) -> frozenset[str]:
        """The ids of nodes that get no worker now. `now` is monotonic."""
        return frozenset(node.id for node in self._by_id.values() if now < node.refused_until)

    async def admit(self, node: Node, actor: Actor, about: dict[str, Any], engine: str) -> None:
        """Look at a node, once, by an actor that is there.

        Raises:
            Refused: it cannot work.
            Lost, Broken: the actor is gone, or does not answer.
        """
        async with node.looking:
            if node.admitted:
                return
            try:
                await self._look(node, actor, about, engine)
            except Refused as refusal:
                self.refuse(node, str(refusal))
                raise
            node.admitted = True

    def refuse(self, node: Node, why: str) -> None:
        """Give a node no worker for a while."""
        if why != node.problem:
            say("bridge-node-refused", node=node.name, problem=why)
        node.problem, node.admitted = why, False
        node.refused_until = time.monotonic() + LOOK_AGAIN

    async def find_who_lacks_povwatch(self) -> bool:
        """Refuse the nodes whose Python cannot run an actor, after one could not begin; whether there are any."""
        unknown = [node for node in self._by_id.values() if not node.admitted and node.gpus]
        answers = await asyncio.gather(*(self._cluster.lacks(node.id) for node in unknown))
        for node, lack in zip(unknown, answers, strict=True):
            if lack:
                self.refuse(node, f"povwatch cannot be used on {node.name}: {lack} Set it up there: script/pool-node")
        return any(answers)

    async def _look(self, node: Node, actor: Actor, about: dict[str, Any], engine: str) -> None:
        if (about["povwatch"], about["protocol"]) != (__version__, protocol.VERSION):
            theirs = f"{about['povwatch']} (protocol {about['protocol']})"
            raise Refused(
                f"{node.name} has povwatch {theirs}, and here it is {__version__} (protocol {protocol.VERSION}). "
                "Install the same one on all machines, and start Ray there anew."
            )
        asked = time.time()
        try:
            look = actor.call("look", self._needs.runtime, engine, self._needs.free)
            found: dict[str, Any] = await asyncio.wait_for(look, LOOK_SECONDS)
        except TimeoutError:
            raise Refused(f"{node.name} could not be looked at within {LOOK_SECONDS:g} s: its disk hangs.") from None
        answered = time.time()
        if found["problems"]:
            raise Refused(f"{node.name}: {' '.join(found['problems'])}")
        if self._needs.outputs is not None:
            await self._canary(node, actor, self._needs.outputs)
        node.state, node.runtime = found["state"], found["runtime"]
        node.problem = _skew(node.name, found["clock"], asked, answered)
        if node.problem:
            say("bridge-node-note", node=node.name, problem=node.problem)

    async def _canary(self, node: Node, actor: Actor, outputs: Path) -> None:
        """Try whether what is written in outputs/ here is seen there, and the other way round."""
        folder = str(outputs / os.fsdecode(STAGING))
        name = f"{CANARY}{secrets.token_hex(8)}"
        nonce = secrets.token_hex(16).encode()
        todo = 'Share outputs with it at this path, for the same user, or set pool.files = "stream".'
        try:
            await asyncio.to_thread(_put, outputs, name, nonce)
            try:
                why = await asyncio.wait_for(actor.call("answer_canary", folder, name), LOOK_SECONDS)
                if not why and not await _answered(outputs, name, nonce[::-1]):
                    why = f"{folder} is another folder there: what is written there is not seen here."
            except TimeoutError:
                why = f"{folder} does not answer there for {LOOK_SECONDS:g} s."
            finally:
                await asyncio.to_thread(_remove, outputs, name)
        except PovwatchError as error:
            raise Refused(f"outputs cannot be tried with {node.name}: {error}") from error
        except OSError as error:
            raise Refused(f"outputs cannot be tried with {node.name}: {folder}: {error.strerror}.") from error
        if why:
            raise Refused(f"outputs is not shared with {node.name}. {why} {todo}")


def _skew(name: str, clock: float, asked: float, answered: float) -> str:
    """What is wrong with a node's clock, as sentences; empty if nothing is.

    Args:
        clock: what it showed, between `asked` and `answered` of ours; all in seconds since the epoch.
    """
    off = clock - answered if clock > answered else min(0.0, clock - asked)
    if abs(off) < SKEW:
        return ""
    direction = "ahead of" if off > 0 else "behind"
    return (
        f"The clock of {name} is {spell_duration(abs(off))} {direction} the one here. Clips go on; set it right there: "
        "timedatectl set-ntp true"
    )


def _put(outputs: Path, name: str, nonce: bytes) -> None:
    with _staging(outputs, make=True) as folder:
        atomic.create(folder, name.encode(), nonce)


async def _answered(outputs: Path, name: str, expected: bytes) -> bool:
    deadline = time.monotonic() + ANSWER_SECONDS
    while True:
        with contextlib.suppress(FileNotFoundError):
            if await asyncio.to_thread(_got, outputs, answer_name(name)) == expected:
                return True
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(0.2)


def _got(outputs: Path, name: str) -> bytes:
    with _staging(outputs) as folder:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        with fs.closing(fd):
            return fs.read_at_most(fd, NONCE_MAX)


def _remove(outputs: Path, name: str) -> None:
    with _staging(outputs) as folder:
        for one in (name, answer_name(name)):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(one, dir_fd=folder)


@contextlib.contextmanager
def _staging(outputs: Path, *, make: bool = False) -> Any:  # noqa: ANN401 - a context manager's
    with fs.closing(os.open(outputs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        folder = private.enter(root, str(outputs), STAGING, make=make)
    with fs.closing(folder):
        yield folder
