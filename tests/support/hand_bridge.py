"""The bridge's end of the daemon's socket, as the test moves it: no worker runs behind it."""

from __future__ import annotations

import select
import time
from typing import ClassVar

from povwatch import __version__
from povwatch.process import protocol
from povwatch.process.channel import Channel
from povwatch.remote import address

PATIENCE = 20
"""Seconds that something may take on a busy machine."""


class Line:
    """One connection to the daemon."""

    every: ClassVar[list[Line]] = []
    """All of them, for `close_all`."""

    def __init__(self, path, *first):
        Line.every.append(self)
        self.channel = Channel(address.connect(path))
        self.heard = []
        self.closed = False
        for message in first:
            self.say(message)

    def say(self, *messages):
        for message in messages:
            self.channel.send(message)

    def read(self):
        while not self.closed and select.select([self.channel], [], [], 0)[0]:
            messages = self.channel.receive(wait=False)
            self.closed = messages is None
            self.heard += messages or []

    def got(self, kind):
        """The messages of a kind that came so far."""
        self.read()
        return [message for message in self.heard if isinstance(message, kind)]

    def close(self):
        self.channel.close()
        self.closed = True


def close_all():
    while Line.every:
        Line.every.pop().close()


def hello(path, *, version=__version__, spoken=protocol.VERSION):
    """A control connection."""
    return Line(path, protocol.BridgeHello(version, 42, "2.57.0", "head:6379", spoken))


def offer(path, engine, *, name="w1", node="gpu-01", config=None, capabilities=None):
    """A worker's connection."""
    return Line(
        path,
        protocol.Offer(name, f"id-{node}", node, ["NVIDIA X"], 4711, engine, config, capabilities),
    )


def report(*problems, node_problem=""):
    node = {"id": "id-gpu-01", "name": "gpu-01", "gpus": 1, "workers": 1, "problem": node_problem}
    return protocol.PoolReport([node], 1, 1, list(problems))


def until(true, turn=lambda: None):
    """Give turns until something is true; returns it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline
        turn()
        time.sleep(0.002)
    return found
