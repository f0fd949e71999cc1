"""The daemon's end of the pool's socket, for tests of the bridge alone: what it sends and gets is up to the test."""

from __future__ import annotations

import contextlib
import select
import time

from povwatch.process import protocol
from povwatch.process.channel import Channel
from povwatch.remote.address import listen

PATIENCE = 30


class Speaking:
    """One connection of the bridge."""

    def __init__(self, channel):
        self.channel = channel
        self.got = []
        """Everything that came and was not taken."""
        self.over = False

    def send(self, *messages):
        for message in messages:
            self.channel.send(message)

    def read(self, seconds):
        if not self.over and select.select([self.channel], [], [], seconds)[0]:
            messages = self.channel.receive(wait=False)
            self.over = messages is None
            self.got += messages or []

    def wait(self, kind, *, within=PATIENCE, where=lambda _: True):
        """Wait for a message of a kind; take it and all before it."""
        deadline = time.monotonic() + within
        while True:
            for number, message in enumerate(self.got):
                if isinstance(message, kind) and where(message):
                    self.got = self.got[number + 1 :]
                    return message
            assert not self.over, f"closed; {self.got[-20:]}"
            assert time.monotonic() < deadline, f"no {kind}; {self.got[-20:]}"
            self.read(0.2)

    def close(self):
        self.channel.close()


class PoolDaemon:
    """It listens; `control` is the control connection, `offered` waits for a worker."""

    def __init__(self, path):
        self._path = path
        self._socket = listen(path)
        self._workers = []
        self._all = []
        self.control = None
        self.hello = None

    def meet(self, *, wanted=None):
        """Wait for a bridge, and take it."""
        while self.control is None:
            self._accept()
        if wanted is not None:
            self.control.send(wanted)
        return self.hello

    def offered(self):
        """Wait for a worker; its connection and its Offer."""
        while not self._workers:
            self._accept()
        return self._workers.pop(0)

    def none_offered(self, seconds):
        """Whether no worker comes for so long."""
        with contextlib.suppress(AssertionError):
            self._accept(seconds)
        return not self._workers

    def dismiss(self, seconds=PATIENCE):
        """Want no worker, and end those that there are."""
        self.control.send(protocol.Wanted(0, "none", {}, {}))
        for one in self._all:
            if one is not self.control and not one.over:
                with contextlib.suppress(OSError, AssertionError):
                    one.send(protocol.Signal(9))
                    one.wait(protocol.Ended, within=seconds)

    def close(self):
        """End as a daemon that is killed: every connection breaks."""
        self._socket.close()
        for one in self._all:
            one.close()

    def _accept(self, seconds=PATIENCE):
        assert select.select([self._socket], [], [], seconds)[0], "nobody came"
        one = Speaking(Channel(self._socket.accept()[0]))
        self._all.append(one)
        first = one.wait((protocol.BridgeHello, protocol.Offer))
        if isinstance(first, protocol.BridgeHello):
            self.control, self.hello = one, first
        else:
            self._workers.append((one, first))
