"""One end of the socket between a worker and whoever has started it. Python 3.10, standard library alone."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING

from povwatch.process.protocol import LINE_MAX, Message, ProtocolError, decode, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

RECEIVE_BYTES = 65536


class Channel:
    """A socket that carries messages. Any thread may send; one thread receives."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._sending = threading.Lock()
        self._sent = 0
        self._received = 0
        self._rest = b""

    def fileno(self) -> int:
        """The socket's descriptor, for a selector."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Send one message as a whole.

        Raises:
            ProtocolError: The message cannot be a line; nothing was sent.
            OSError: The other end is gone, or does not read (see `give_up_after`); nothing more can be sent.
        """
        with self._sending:
            line = encode(message, self._sent + 1)
            self._socket.sendall(line)
            self._sent += 1

    def receive(self, *, wait: bool = True) -> list[Message] | None:
        """The messages since the last call, perhaps none; None when the other end is gone.

        Args:
            wait: Whether to wait until something arrives.

        Raises:
            ProtocolError: The other end sent a line that is no message; nothing more can be received.
        """
        try:
            data = self._socket.recv(RECEIVE_BYTES, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except ConnectionResetError:  # the other end closed before it had read all messages
            return None
        return list(self._messages(data)) if data else None

    def give_up_after(self, seconds: float) -> None:
        """Make `send` fail when the other end has not read for this many seconds, instead of waiting for ever."""
        whole, part = divmod(seconds, 1)
        limit = struct.pack("@ll", int(whole), int(part * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)

    def close(self) -> None:
        """Close the socket; the other end notices."""
        self._socket.close()

    def _messages(self, data: bytes) -> Iterator[Message]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX:
            raise ProtocolError(f"A line of more than {LINE_MAX} bytes came.")
        for line in lines:
            message, seq = decode(line)
            if seq != self._received + 1:
                raise ProtocolError(f"Line {seq} came after line {self._received}.")
            self._received = seq
            yield message
