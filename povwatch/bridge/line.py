"""A connection of the bridge to the daemon: messages over its socket, in asyncio."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from povwatch.process.protocol import LINE_MAX, Message, ProtocolError, decode, encode
from povwatch.remote.address import connect

if TYPE_CHECKING:
    from pathlib import Path

UNREAD_MAX = 16 * 1024 * 1024
"""Bytes that the daemon may leave unread; beyond them it counts as gone."""


class Line:
    """One connection. It is over when `receive` has returned None."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._sent = 0
        self._received = 0

    @classmethod
    async def open(cls, path: Path) -> Line:
        """Connect to the daemon.

        Raises:
            OSError: no daemon listens there.
        """
        connected = await asyncio.to_thread(connect, path)
        connected.setblocking(False)  # noqa: FBT003 - its only way
        return cls(*await asyncio.open_unix_connection(sock=connected, limit=LINE_MAX + 1))

    def send(self, message: Message) -> None:
        """Send a message; if the daemon is gone nothing happens here, and `receive` returns None."""
        if self._writer.is_closing():
            return
        self._sent += 1
        self._writer.write(encode(message, self._sent))
        if self._writer.transport.get_write_buffer_size() > UNREAD_MAX:
            self._writer.transport.abort()

    async def receive(self) -> Message | None:
        """The next message; None when the daemon is gone.

        Raises:
            ProtocolError: what came is no message.
        """
        try:
            line = await self._reader.readline()
        except ValueError as error:
            raise ProtocolError(f"A line of more than {LINE_MAX} bytes came.") from error
        except OSError:
            return None
        if not line.endswith(b"\n"):
            return None
        message, seq = decode(line)
        if seq != self._received + 1:
            raise ProtocolError(f"Line {seq} came after line {self._received}.")
        self._received = seq
        return message

    async def close(self) -> None:
        """Close it once everything is sent, or the daemon does not read for a second."""
        self._writer.close()
        try:
            await asyncio.wait_for(self._writer.wait_closed(), 1.0)
        except (OSError, TimeoutError):
            self._writer.transport.abort()
