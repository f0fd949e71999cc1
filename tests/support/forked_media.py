"""Forks media children from a process that has imported PyAV.

A clip needs four of them, and importing is nine tenths of their cost. Their code, descriptors, session, limits and end
are the real ones. The soak, and tests that call `media.run` themselves, start children from nothing.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch.media import child
from povwatch.media.child import OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from typing import NoReturn

PRELOADED = ["povwatch.media.child", *(function.partition(":")[0] for function, _ in OPERATIONS.values())]
"""The modules that the server imports."""


def serve(name: str, told: Connection) -> None:
    """Start media children for clients of the socket `name`; never returns.

    A request has the operation, the folder and the client's process id. With it come the child's descriptors 0 to 2.
    """
    fork_for_clients(name, told, _guard)


def fork_for_clients(name: str, told: Connection, guard: Callable[..., NoReturn]) -> None:
    """For each request at the socket `name`, call `guard` in a process of its own; never returns.

    A request is one datagram in JSON, whose keys are `guard`'s first argument. Its descriptors are the others. The last
    one is for the answer: the child's process id and its status, as from waitpid, on a line each.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the guardians are nobody's to wait for
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as requests:
        requests.bind(name)
        told.send("ready")
        while True:
            request, descriptors, _, _ = socket.recv_fds(requests, 65536, 4)
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                guard(json.loads(request), *descriptors)
            for descriptor in descriptors:
                os.close(descriptor)


def install(name: str) -> None:
    """Make this process's povwatch get its media children from the server at the socket `name`."""
    from povwatch.media import run  # noqa: PLC0415 - this module is imported before what it serves
    from povwatch.process.child import Child  # noqa: PLC0415

    run._started = lambda op: Child(MediaChild(name, op))  # type: ignore[arg-type]


class ServedChild:
    """A child that a server has forked, with the part of subprocess.Popen that povwatch uses."""

    def __init__(self, server: str, request: dict[str, Any], descriptors: Sequence[int]) -> None:
        self.returncode: int | None = None
        self._lock = threading.Lock()
        told, tells = os.pipe()
        self._told = os.fdopen(told, "rb")
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asked:
                asked.connect(server)
                socket.send_fds(asked, [json.dumps(request).encode()], [*descriptors, tells])
        finally:
            os.close(tells)
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        with self._lock:
            if self.returncode is None and select.select([self._told], [], [], 0)[0]:
                self._ended()
            return self.returncode

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        with self._lock:
            if self.returncode is None:
                self._ended()
            assert self.returncode is not None
            return self.returncode

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        with self._lock:
            if self.returncode is None:
                os.kill(self.pid, signal.SIGKILL)

    def _ended(self) -> None:
        self.returncode = os.waitstatus_to_exitcode(int(self._told.readline()))
        self._told.close()


class MediaChild(ServedChild):
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


def _guard(request: dict[str, Any], stdin: int, stdout: int, stderr: int, told: int) -> NoReturn:
    """Be the parent of one media child until it ends."""
    guard_child(request, (stdin, stdout, stderr), told, child.main)


def guard_child(
    request: dict[str, Any], streams: tuple[int, int, int], told: int, main: Callable[[], None]
) -> NoReturn:
    """Be the parent of one child, whose program is `main`, until it ends."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.close(told)
        for to, descriptor in enumerate(streams):
            os.dup2(descriptor, to)
            os.close(descriptor)
        _be(request, main)
    for descriptor in streams:
        os.close(descriptor)
    os.write(told, b"%d\n" % pid)
    _, status = os.waitpid(pid, 0)
    os.write(told, b"%d\n" % status)
    os._exit(0)


def _be(request: dict[str, Any], main: Callable[[], None]) -> None:
    code = 1
    try:
        os.chdir(request["cwd"])
        os.getppid = lambda: request[
            "parent"
        ]  # it is looked at once, whether the parent has died before it was listened to
        os.environ.update(request.get("env", {}))
        sys.argv = ["child", request["op"]]
        sys.stdin = open(0)  # noqa: SIM115 - multiprocessing has put nothing in its place
        main()
        code = 0
    except BaseException:  # noqa: BLE001 - a fork must not go on where its parent was
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)
