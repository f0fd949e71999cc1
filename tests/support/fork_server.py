"""Processes that fork children on request, having imported what those need.

Importing is nine tenths of what a start costs. Each server imports little more than its own children need: the memory
that it has decides what a fork costs.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

from povwatch.process.start import kill_group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

_BEGIN = "import importlib, sys; sys.path[:] = {path!r}; importlib.import_module({module!r}).serve({name!r})"

_REQUEST_MAX = 2**20
"""Bytes of a request."""

_READY = b"ready\n"


@functools.cache
def server(module: str) -> str:
    """The socket of this process's server that is the module's `serve`. It ends with this process."""
    name = f"\0povwatch-{module}-{os.getpid()}"
    code = _BEGIN.format(path=sys.path, module=module, name=name)
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    atexit.register(_end, process)
    while (line := process.stdout.readline()) != _READY:
        assert line, f"{module} has ended"
    return name


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server: it reads the end of its stdin, unless a child of ours holds that open."""
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
    with process:
        pass


def serve(name: str, child: Callable[..., int], *, groups: bool = False) -> NoReturn:
    """For each request at the socket `name`, call `child` in a process of its own, until stdin ends.

    A request is one datagram in JSON, whose keys are `child`'s first argument. Its descriptors are the others, but for
    the last one. That is for the answer: the process id and then the status, as from waitpid, on a line each.

    Args:
        child: returns the exit code.
        groups: whether the child's process group is killed when the process ends that the request calls its parent.
    """
    gc.collect()
    gc.freeze()  # a collection in a child would copy all that is here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    requests = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    requests.bind(name)
    children = _Children(child, groups)
    os.write(1, _READY)
    while True:
        for ready in children.wait(0, requests.fileno()):
            if ready == 0:
                children.kill()
                os._exit(0)
            elif ready == requests.fileno():
                text, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_MAX, 4)
                children.start(json.loads(text), descriptors, requests)
            else:
                children.ended(ready)


class _Children:
    """The children of a server, and the processes that they are not to outlive."""

    def __init__(self, child: Callable[..., int], groups: bool) -> None:  # noqa: FBT001 - called once
        self._child = child
        self._groups = groups
        self._answers: dict[int, int] = {}
        """Process id to the descriptor for its answer."""
        self._waits: dict[int, tuple[int, bool]] = {}
        """A process's descriptor to a child's id, and whether it is that child's own."""

    def wait(self, *others: int) -> list[int]:
        """Wait for one of these descriptors, or for an end; returns descriptors."""
        poll = select.poll()
        for descriptor in [*others, *self._waits]:
            poll.register(descriptor, select.POLLIN)
        return [descriptor for descriptor, _ in poll.poll()]

    def start(self, request: dict[str, Any], descriptors: list[int], requests: socket.socket) -> None:
        """Fork a child; `requests` is closed there."""
        *theirs, answer = descriptors
        pid = os.fork()
        if pid == 0:
            for descriptor in [requests.fileno(), *self._waits, *self._answers.values(), answer]:
                os.close(descriptor)
            _be(self._child, request, *theirs)
        for descriptor in theirs:
            os.close(descriptor)
        self._answers[pid] = answer
        _tell(answer, pid)
        self._waits[os.pidfd_open(pid)] = pid, True
        if self._groups:
            try:
                self._waits[os.pidfd_open(request["parent"])] = pid, False
            except ProcessLookupError:
                kill_group(pid)

    def ended(self, descriptor: int) -> None:
        """Answer the end of a child, or end one whose parent has ended."""
        pid, itself = self._waits.pop(descriptor)
        os.close(descriptor)
        if itself:
            _tell(self._answers[pid], os.waitpid(pid, 0)[1])
            os.close(self._answers.pop(pid))
        elif pid in self._answers:
            kill_group(pid)

    def kill(self) -> None:
        """Kill all of them."""
        for pid in self._answers:
            os.kill(pid, signal.SIGKILL)


def _tell(answer: int, number: int) -> None:
    with contextlib.suppress(BrokenPipeError):  # nobody may listen any more
        os.write(answer, b"%d\n" % number)


def _be(child: Callable[..., int], request: dict[str, Any], *descriptors: int) -> NoReturn:
    """End as Python does at the end of a program, except for what is done at exit."""
    code = 1
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = child(request, *descriptors)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            sys.stderr.write(f"{error.code}\n")
    except BaseException:  # noqa: BLE001 - a fork must not go on where its parent was
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def redirect(streams: Sequence[int]) -> None:
    """Make these descriptors 0 to 2 of this process."""
    for to, descriptor in enumerate(streams):
        os.dup2(descriptor, to)
    for descriptor in {*streams} - {0, 1, 2}:
        os.close(descriptor)


class Served:
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
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns its exit code.

        Raises:
            subprocess.TimeoutExpired: it has not ended.
        """
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        with self._lock:
            if self.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self.send_signal(signal.SIGKILL)

    def __del__(self) -> None:
        """Close the pipe, which threads may wait at until then."""
        self._told.close()

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            with self._lock:
                if self.returncode is None:
                    self.returncode = os.waitstatus_to_exitcode(int(self._told.readline()))
        return self.returncode
