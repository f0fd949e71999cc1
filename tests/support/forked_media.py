"""Forks media children from a process that has imported PyAV.

A clip needs four of them, and importing is nine tenths of their cost. Their code, descriptors, session, limits and end
are the real ones. The soak, and tests that call `media.run` themselves, start children from nothing.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import fork_server

from povwatch.media import child
from povwatch.media.child import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


def server() -> str:
    """The socket of this process's server of media children."""
    return fork_server.server(__name__)


def serve(name: str) -> NoReturn:
    """Start media children for clients of the socket `name`.

    A request has the operation, the folder and the client's process id. With it come the child's descriptors 0 to 2.
    """
    for function, _ in OPERATIONS.values():
        importlib.import_module(function.partition(":")[0])
    from support import warm  # noqa: F401, PLC0415 - only the server has to

    fork_server.serve(name, _child)


def install(name: str) -> None:
    """Make this process's povwatch get its media children from the server at the socket `name`."""
    from povwatch.media import run  # noqa: PLC0415 - this module is imported before what it serves
    from povwatch.process.child import Child  # noqa: PLC0415

    run._started = lambda op: Child(MediaChild(name, op))  # type: ignore[arg-type]


class MediaChild(fork_server.Served):
    """A media child, with pipes to its streams; or another program that listens and answers as one."""

    def __init__(self, server: str, op: str, **more: Any) -> None:
        theirs, ours = zip(*((os.pipe() if n == 0 else os.pipe()[::-1]) for n in range(3)), strict=True)
        self.stdin = os.fdopen(ours[0], "wb")
        self.stdout, self.stderr = (os.fdopen(fd, "rb") for fd in ours[1:])
        request = {"op": op, "cwd": str(Path.cwd()), "parent": os.getpid(), **more}
        try:
            super().__init__(server, request, theirs)
        finally:
            for descriptor in theirs:
                os.close(descriptor)


def _child(request: dict[str, Any], *streams: int) -> int:
    return be_child(request, streams, child.main)


def be_child(request: dict[str, Any], streams: tuple[int, ...], main: Callable[[], None]) -> int:
    """Be a child whose program is `main`."""
    os.setsid()
    fork_server.redirect(streams)
    os.chdir(request["cwd"])
    # It is looked at once, whether the parent has died before it was listened to.
    os.getppid = lambda: request["parent"]
    os.environ.update(request.get("env", {}))
    sys.argv = ["child", request["op"]]
    main()
    return 0
