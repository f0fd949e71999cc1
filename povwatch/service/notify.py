"""Tells the service manager that the daemon is ready, alive or stopping, and what it does.

The protocol is a datagram of lines to the socket in NOTIFY_SOCKET (sd_notify(3), which calls it stable and free to
reimplement). systemd's library is not used, because it reads the environment at each message. Our environment must not
hold NOTIFY_SOCKET: a worker that inherits it could send messages in our name.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

PATIENCE = 2.0
"""Seconds that a message may wait for space in the manager's queue. A lost message is better than a hang."""

STATUS_MAX = 500
"""The most characters of a status in `systemctl status`."""

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells the service manager, if there is one. No call raises; each returns whether the message was sent."""

    interval: float | None
    """Seconds between two `watchdog` calls, half of what the manager allows; None if it does not watch."""

    def __init__(self, address: str | None = None, interval: float | None = None) -> None:
        self.interval = interval
        self._address = address
        self._status = ""
        self._socket: socket.socket | None = None
        if address:
            # Not inherited: Python's descriptors are close-on-exec.
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.settimeout(PATIENCE)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """Make the notifier from the environment, and remove its variables so that no child inherits them."""
        where, usec, pid = (environ.pop(name, "") for name in _VARIABLES)
        watched = usec.isascii() and usec.isdigit() and int(usec) > 0 and pid in {"", str(os.getpid())}
        return cls(_address(where), int(usec) / 1e6 / 2 if watched else None)

    def ready(self, status: str = "") -> bool:
        """The start is over."""
        return self._send("READY=1", status)

    def status(self, text: str) -> bool:
        """A line on what the daemon does; sent only if it has changed, so a loop may call this each time."""
        return text != self._status and self._send("", text)

    def watchdog(self) -> bool:
        """The daemon is alive. Call it only from a loop that has just made sure, never from a separate thread."""
        return self._send("WATCHDOG=1")

    def stopping(self) -> bool:
        """The daemon is stopping."""
        return self._send("STOPPING=1")

    def close(self) -> None:
        """Close the socket; later messages are dropped."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, state: str, status: str = "") -> bool:
        if self._socket is None or self._address is None:
            return False
        # One line: a line break in a file name must not begin a new message.
        line = " ".join(status.split())[:STATUS_MAX]
        message = "\n".join(part for part in (state, line and f"STATUS={line}") if part)
        try:
            self._socket.sendto(message.encode("utf-8", "backslashreplace"), self._address)
        except OSError:
            return False
        if status:
            self._status = status
        return True


def _address(where: str) -> str | None:
    """The socket's address; `@` begins an abstract one. Other kinds (vsock) are for virtual machines."""
    if where.startswith("@"):
        return "\0" + where[1:]
    return where if where.startswith("/") else None
