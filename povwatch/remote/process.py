"""A worker's process on another machine, with the interface of WorkerProcess.

What the worker says comes through the bridge as it is. What differs is the end: besides the process, its machine, the
network or the bridge may be gone. Whatever comes after the end is not taken any more.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, get_args

from povwatch.core.retry import ENVIRONMENT_PAUSE
from povwatch.core.sentences import joined
from povwatch.process import protocol
from povwatch.process.start import describe_end
from povwatch.workers.pool import REMOTE_KILL
from povwatch.workers.process import Gone, Item, Printed, Received

if TYPE_CHECKING:
    from collections.abc import Callable

    from povwatch.process.protocol import Message
    from povwatch.remote.connections import Connection

SILENCE = 30.0
"""Seconds without a sign of life after which a worker counts as lost, while the bridge has some."""

LIKELY = {
    int(signal.SIGKILL): "often the out-of-memory killer: see journalctl -k there",
    int(signal.SIGSEGV): "a crash in a library: its traceback is in the log",
    int(signal.SIGABRT): "a library gave up: its last words are in the log",
}
"""As process.start.LIKELY, on another machine."""

_FROM_WORKER = get_args(protocol.FromWorker)


class RemoteProcess:
    """One worker on another machine. For one thread."""

    def __init__(
        self,
        connection: Connection,
        offer: protocol.Offer,
        *,
        clock: Callable[[], float],
        bridge_heard_at: Callable[[], float],
    ) -> None:
        """Take over the connection behind its Offer.

        Args:
            bridge_heard_at: when the bridge said anything last, on the clock.
        """
        self.pid = offer.pid
        self.called = f"The worker on node {offer.node_name}"
        """The worker for people, at the beginning of a sentence. Its pool knows its number."""
        self._connection = connection
        self._clock = clock
        self._bridge_heard_at = bridge_heard_at
        self._killed_at: float | None = None
        self._hung_up = ""
        self.over = False
        """Whether `Gone` was taken."""

    def send(self, message: Message) -> bool:
        """Send a message; False if the bridge does not read any more.

        Raises:
            ProtocolError: the message cannot be a line.
        """
        return not self.over and self._connection.send(message)

    def take(self) -> list[Item]:
        """The items since the last call, in order; `Gone` is the last one. Never waits."""
        if self.over:
            return []
        taken, over = self._connection.take()
        items: list[Item] = []
        for at, message in taken:
            if isinstance(message, protocol.Output):
                items += map(Printed, message.lines)
            elif isinstance(message, _FROM_WORKER):
                items.append(Received(at, message))
            else:
                gone = self._gone(message) if isinstance(message, protocol.Ended) else None
                lost = Gone(f"The bridge broke the protocol: it sent {message.type} for a worker.", died=False)
                return [*items, self._end(gone or lost)]
        gone = self._lost(over)
        return [*items, self._end(gone)] if gone else items

    def signal(self, number: int) -> None:
        """Have a signal sent to the worker and its descendants."""
        self.send(protocol.Signal(number))

    def kill(self) -> None:
        """Have the worker killed. `Gone` follows, after REMOTE_KILL at most."""
        self.signal(signal.SIGKILL)
        self._killed_at = self._killed_at or self._clock()

    def hang_up(self, why: str) -> None:
        """Leave the worker to the bridge. `Gone` follows what has come already. `why` is a sentence for people."""
        self._hung_up = self._hung_up or why
        self._connection.hang_up()

    def join(self, _timeout: float) -> bool:
        """Whether it is over. It is not waited for: nothing of it is on this machine."""
        return self.over or self._killed_at is not None

    def _end(self, gone: Gone) -> Gone:
        self.over = True
        self._connection.hang_up()  # whatever it still sends does not count
        return gone

    def _lost(self, over: str | None) -> Gone | None:
        """Why nothing more is to be expected from it; None if something is."""
        if self._hung_up:
            return Gone(self._hung_up, died=False)
        if over is not None:
            return Gone(f"The bridge to the pool let go of it: {over}", died=False)
        if self._killed_at is not None and self._clock() >= self._killed_at + REMOTE_KILL:
            return Gone(f"{self.called} was killed, and nobody answered.", died=True)
        if self._bridge_heard_at() - self._connection.heard_at >= SILENCE:
            self.signal(signal.SIGKILL)
            return Gone(f"{self.called} said nothing for {SILENCE:g} s: it, its node or the network hangs.", died=True)
        return None

    def _gone(self, ended: protocol.Ended) -> Gone:
        match ended.reason:
            case "stopped":
                return Gone(ended.detail or "It was told to end.", died=False)
            case "files":
                what = joined(f"The clip's files could not be carried to {self.called} or back.", ended.detail)
                return Gone(what, died=False, broken=True, pause=ENVIRONMENT_PAUSE)
            case "exited" if ended.returncode is not None:
                what = f"{self.called} {describe_end(ended.returncode, LIKELY)}."
            case reason:
                what = f"{self.called} {_ENDS.get(reason, 'has ended')}."
        return Gone(joined(what, ended.detail), died=True)


_ENDS = {
    "actor": "was lost: the actor that ran it died",
    "node": "was lost with its node",
    "network": "gave no sign of life any more",
}
