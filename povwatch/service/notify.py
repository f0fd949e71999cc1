"""What the service manager is told: ready, what we are at, that we are alive, that we stop.

The protocol is a datagram of lines to the socket that NOTIFY_SOCKET names (sd_notify(3), which describes it as stable
and free to reimplement). It is spoken here and not through systemd's library because that one reads the environment at
each message, and our environment must not hold it: a worker that inherits NOTIFY_SOCKET could speak for us.
"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

PATIENCE = 2.0
"""Seconds that a message may wait for room in the manager's queue. Losing one is better than hanging on it."""

STATUS_MAX = 500
"""Characters of a status that `systemctl status` can use."""

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Notifier:
    """Tells the service manager, or nobody where there is none. No call raises."""

    interval: float | None
    """Seconds between two `watchdog` calls, half of what the manager allows; None where it does not watch."""

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
        """The notifier that the environment asks for. What it says is taken out, so that no child inherits it."""
        where, usec, pid = (environ.pop(name, "") for name in _VARIABLES)
        watched = usec.isascii() and usec.isdigit() and int(usec) > 0 and pid in {"", str(os.getpid())}
        return cls(_address(where), int(usec) / 1e6 / 2 if watched else None)

    def ready(self, status: str = "") -> bool:
        """We watch: the start is over. Says whether somebody was told, as all of these do."""
        return self._send("READY=1", status)

    def status(self, text: str) -> bool:
        """One line on what we are at; sent only when it has changed, so a loop may call this each time."""
        return text != self._status and self._send("", text)

    def watchdog(self) -> bool:
        """We are alive. Only for a loop that has just made sure of it, never for a thread of its own."""
        return self._send("WATCHDOG=1")

    def stopping(self, status: str = "") -> bool:
        """We were asked to stop and are at it."""
        return self._send("STOPPING=1", status)

    def close(self) -> None:
        """Close the socket; what is said afterwards, nobody hears."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, state: str, status: str = "") -> bool:
        if self._socket is None or self._address is None:
            return False
        # One line: a line break in a file name must not become a message of its own.
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
    """The address to send to; `@` begins an abstract one. Other kinds (vsock) are for virtual machines."""
    if where.startswith("@"):
        return "\0" + where[1:]
    return where if where.startswith("/") else None
