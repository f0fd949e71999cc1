"""One worker of the pool, with a stand-in for the cluster."""

from __future__ import annotations

import asyncio
import os

import pytest

from povwatch import __version__
from povwatch.bridge import worker as module
from povwatch.bridge.losses import Broken, Lost
from povwatch.bridge.nodes import Needs, Nodes
from povwatch.bridge.worker import Daemon, Pool, PoolWorker
from povwatch.process import protocol

ABOUT = {"node": "n1", "name": "gpu-02", "povwatch": __version__, "protocol": protocol.VERSION}
LOOK = {"problems": [], "state": "/s", "runtime": "/python", "clock": 0.0}


class Actor:
    """Answers as the test says: a method's name to what it returns or raises."""

    def __init__(self, **answers):
        self.calls = []
        self.killed = False
        self.pinged = asyncio.Semaphore(0)
        self._answers = {"look": LOOK, "start": [7, []], "ping": None} | answers

    async def about(self):
        return await self.call("about")

    async def call(self, method, *_):
        self.calls.append(method)
        if method == "ping":
            self.pinged.release()
        answer = self._answers.get(method)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def says(self):
        for items in self._answers.get("says", []):
            if isinstance(items, Exception):
                raise items
            yield items
        await asyncio.Event().wait()

    def kill(self):
        self.killed = True


class Cluster:
    def __init__(self, actor):
        self.actor = actor

    def ask(self, *_):
        return self.actor

    def nodes(self):
        return []


def live(actor, tmp_path, during=None):
    """The end of a worker with this actor; `during` gets the worker while it lives."""

    async def life():
        cluster = Cluster(actor)
        nodes = Nodes(cluster, Needs("", None, 1))
        pool = Pool(cluster, nodes, tmp_path / "pool.sock", "/here", 1, False, Daemon())  # noqa: FBT003 - streams
        worker = PoolWorker("w1", pool, "engine", frozenset())
        living = asyncio.create_task(worker.run())
        if during is not None:
            await during(worker, nodes)
        return await asyncio.wait_for(living, 10)

    ended = asyncio.run(life())
    assert actor.killed
    return ended


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "PING", 0.01)
    monkeypatch.setattr(module, "CERTAINTY", 0.05)


def test_who_waits_for_its_load_gives_signs(tmp_path):
    """Without any, the actor would end while another worker of its node loads for minutes."""
    actor = Actor(about=ABOUT)

    async def another_loads(worker, nodes):
        await nodes.get("n1").loading.acquire()
        await asyncio.wait_for(actor.pinged.acquire(), 10)
        await asyncio.wait_for(actor.pinged.acquire(), 10)
        assert "start" not in actor.calls
        worker.end("That is enough.")

    assert live(actor, tmp_path, another_loads) == protocol.Ended("stopped", None, "That is enough.")


def test_who_dies_while_it_waits_is_lost(tmp_path):
    actor = Actor(about=ABOUT, ping=Lost("node", "Its node is gone."))

    async def another_loads(_, nodes):
        await nodes.get("n1").loading.acquire()

    assert live(actor, tmp_path, another_loads).reason == "node"


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"about": Lost("actor", "It could not begin.")}, "actor"),
        ({"about": ABOUT, "start": Broken("no such file", passing=False)}, "actor"),
        ({"about": ABOUT, "says": [Lost("node", "Its node is gone.")]}, "node"),
        ({"about": ABOUT, "says": [Broken("it broke", passing=True)]}, "node"),  # which is not in the cluster any more
        ({"about": ABOUT, "says": [[["ended", 3, []]]]}, "exited"),
        ({"about": ABOUT, "says": [[["line", b"no message\n"]]]}, "actor"),
        ({"about": ABOUT | {"povwatch": "0.0.1"}}, "stopped"),
    ],
)
def test_each_loss_has_its_reason(tmp_path, answers, reason):
    assert live(Actor(**answers), tmp_path).reason == reason


def test_where_nothing_starts_is_refused(tmp_path):
    actor = Actor(about=ABOUT, start=Broken(os.strerror(12), passing=False))
    seen = []

    async def note(_, nodes):
        seen.append(nodes.get("n1", "gpu-02"))

    live(actor, tmp_path, note)
    assert seen[0].problem == "gpu-02: the worker cannot be started: Cannot allocate memory"
