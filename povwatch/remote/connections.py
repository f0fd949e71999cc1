"""The connections at the daemon's socket. One thread accepts and reads them all; the loop takes and sends.

Only what the loop has to act on at once wakes it: it takes the rest, such as the heartbeats of a hundred workers, with
its next turn.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from povwatch.core.mailbox import Mailbox
from povwatch.process import protocol
from povwatch.process.channel import Channel
from povwatch.process.protocol import Message, ProtocolError
from povwatch.remote import address
from povwatch.workers.process import INBOX_MAX, SEND_SECONDS
from povwatch.workers.supervisor import ASLEEP

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROUND = 5.0
"""Longest time in seconds between two rounds of the reading thread."""

TOO_MANY = 0.5
"""Seconds until a connection is accepted again, if there are no descriptors left."""

LATER = (protocol.Heartbeat, protocol.Progress, protocol.LoadProgress, protocol.Output, protocol.PoolReport)
"""What does not wake the loop."""


class Connection:
    """One connection: the loop sends and takes, the reading thread puts in."""

    def __init__(self, connected: socket.socket, clock: Callable[[], float]) -> None:
        self._socket = connected
        self._channel = Channel(connected)
        self._channel.give_up_after(SEND_SECONDS)
        self._clock = clock
        self._inbox: deque[tuple[float, Message]] = deque()
        self._left_out = 0
        self.peer = address.peer(connected).pid
        """The process at the other end."""
        self.heard_at = clock()
        """When anything came last."""
        self.over: str | None = None
        """Why nothing more comes, as a sentence; None while something may."""

    def fileno(self) -> int:
        """The socket's descriptor, for a selector."""
        return self._channel.fileno()

    def send(self, message: Message) -> bool:
        """Send a message; False if nobody reads it. Waits for SEND_SECONDS at most.

        Raises:
            ProtocolError: it cannot be a line.
        """
        try:
            self._channel.send(message)
        except OSError:
            return False
        return True

    def take(self) -> tuple[list[tuple[float, Message]], str | None]:
        """The messages since the last call, each with when it came; then `over`, if these were the last ones."""
        over = self.over  # read first: it is set after the last message
        taken = []
        while self._inbox:
            taken.append(self._inbox.popleft())
        return taken, over

    def take_one(self) -> tuple[Message | None, str | None]:
        """The next message alone, if there is one; then as `take`."""
        over = self.over
        return (self._inbox.popleft()[1] if self._inbox else None), over

    def hang_up(self) -> None:
        """Close it, from the loop. What comes in meanwhile is not taken any more."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # the reading thread closes it

    # -- the reading thread

    def read(self) -> bool:
        """Take in what is there. Returns whether the loop has to act on it at once."""
        try:
            messages = self._channel.receive(wait=False)
        except ProtocolError as error:
            self.over = f"It broke the protocol: {error}"
            return True
        except OSError as error:
            self.over = f"It cannot be read: {error.strerror}."
            return True
        if messages is None:
            self.over = "It hung up."
            return True
        self.heard_at = self._clock()
        for message in messages:
            self._put(message)
        return any(not isinstance(message, LATER) for message in messages)

    def close(self) -> None:
        """Close the socket."""
        self.over = self.over or "It was closed."
        self._channel.close()

    def _put(self, message: Message) -> None:
        if isinstance(message, protocol.Heartbeat):
            return
        if isinstance(message, protocol.Output) and len(self._inbox) >= INBOX_MAX:
            self._left_out += len(message.lines)
            return
        if isinstance(message, protocol.Output) and self._left_out:
            message = protocol.Output([f"({self._left_out} lines left out)", *message.lines])
            self._left_out = 0
        self._inbox.append((self.heard_at, message))


class Connections:
    """The socket, and everything that is connected to it."""

    def __init__(self, path: Path, *, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        """Listen at `path`.

        Args:
            clock: seconds, from any thread.
            wake: wakes the loop, from the reading thread.

        Raises:
            OSError: see address.listen.
        """
        self._path = path
        self._clock = clock
        self._wake = wake
        self._new: Mailbox[Connection] = Mailbox(wake)
        self._open: set[Connection] = set()
        self._listening = address.listen(path)
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._listen, name="pool", daemon=True)
        self._thread.start()

    def take_new(self) -> list[Connection]:
        """The connections since the last call. Their first messages may be still to come."""
        return list(self._new.take())

    @property
    def alive(self) -> bool:
        """Whether the reading thread runs; only a bug ends it."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Close all connections and the socket, and remove its file."""
        os.eventfd_write(self._bell, 1)
        self._thread.join()
        os.close(self._bell)
        with suppress(OSError):
            self._path.unlink()

    def _listen(self) -> None:
        try:
            self._serve()
        finally:
            for connection in self._open:
                connection.close()
            self._wake()

    def _serve(self) -> None:
        before = self._clock()
        with selectors.DefaultSelector() as selector, self._listening:
            selector.register(self._listening, selectors.EVENT_READ)
            selector.register(self._bell, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select(ROUND)]
                before = self._forgive(before)
                if self._bell in ready:
                    break
                if any([self._handle(one, selector) for one in ready]):  # noqa: C419 - each is to be handled
                    self._wake()

    def _forgive(self, before: float) -> float:
        """Nobody was silent while nothing ran here. Returns the time of this round."""
        now = self._clock()
        if (asleep := now - before) > ASLEEP:
            for connection in self._open:
                connection.heard_at += asleep
        return now

    def _handle(self, ready: object, selector: selectors.BaseSelector) -> bool:
        if not isinstance(ready, Connection):
            self._accept(selector)
            return False
        wake = ready.read()
        if ready.over is not None:
            selector.unregister(ready)
            self._open.discard(ready)
            ready.close()
        return wake

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            connected, _ = self._listening.accept()
        except BlockingIOError:
            return
        except OSError:
            threading.Event().wait(TOO_MANY)
            return
        if not address.is_ours(connected):
            connected.close()
            return
        connected.settimeout(None)
        connection = Connection(connected, self._clock)
        selector.register(connection, selectors.EVENT_READ)
        self._open.add(connection)
        self._new.put(connection)
