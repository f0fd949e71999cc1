"""The Unix socket between the daemon and `povwatch pool`: where it is, and who is at its other end.

Both sides use this. Only the user that the daemon runs as may connect.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from povwatch.config.settings import Config

NAME = "pool.sock"

BACKLOG = 128
"""Connections that may wait: a large pool comes back at once."""

_UCRED = struct.Struct("=iII")
"""struct ucred of <sys/socket.h>."""


class Peer(NamedTuple):
    """Who is at the other end of a connection."""

    pid: int
    uid: int
    gid: int


def socket_path(config: Config) -> Path:
    """Where the socket is: in systemd's runtime folder, if both units have one; else in the state folder."""
    folder = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    return Path(folder or config.paths.state) / NAME


def listen(path: Path) -> socket.socket:
    """Listen at `path`, for our own user alone. What an earlier daemon left there is replaced.

    Raises:
        OSError: no socket can be made there, or something else has the name.
    """
    with _short(path) as name:
        if name.is_socket():
            name.unlink()
        listening = socket.socket(socket.AF_UNIX)
        try:
            listening.bind(str(name))
            name.chmod(stat.S_IRUSR | stat.S_IWUSR)
            listening.listen(BACKLOG)  # before this nobody can connect
        except OSError:
            listening.close()
            raise
    listening.settimeout(0)
    return listening


def connect(path: Path) -> socket.socket:
    """Connect to the daemon. Blocks while its backlog is full.

    Raises:
        OSError: no daemon listens there, or it is another user's.
    """
    connected = socket.socket(socket.AF_UNIX)
    try:
        with _short(path) as name:
            connected.connect(str(name))
    except OSError:
        connected.close()
        raise
    return connected


def is_ours(connected: socket.socket) -> bool:
    """Whether a process of our own user is at the other end."""
    return peer(connected).uid == os.geteuid()


def peer(connected: socket.socket) -> Peer:
    """Who is at the other end, as the kernel knows it."""
    return Peer(*_UCRED.unpack(connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)))


@contextlib.contextmanager
def _short(path: Path) -> Iterator[Path]:
    """Another name for `path`, since the kernel takes no socket's name of more than 107 bytes."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{folder}") / path.name
    finally:
        os.close(folder)
