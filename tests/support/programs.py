"""Finds, runs, stalls and kills the programs that people copy and edit with.

script/test installs them in continuous integration (CLIENTS there); elsewhere a test whose program is missing skips.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

ALL = bool(os.environ.get("POVWATCH_TEST_ALL"))
"""Whether this is continuous integration, where everything has to run."""

PATIENCE = 60.0
"""Seconds that a program may take."""

more = pytest.mark.skipif(not ALL, reason="one of a larger matrix: set POVWATCH_TEST_ALL=1 to run it")
"""Marks tests that cost too much for a developer's run."""


def absent(what: str) -> NoReturn:
    """Skip; fail if everything has to run."""
    if ALL:
        pytest.fail(what)
    pytest.skip(what)


def program(name: str) -> str:
    """A program's path; servers are in /usr/sbin, which is not on every PATH."""
    found = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    return found or absent(f"{name} is not installed")


def run(name: str, *arguments: object, **options: Any) -> str:
    """Run a program, check its exit code, and return its output."""
    command = [program(name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def until(true: Callable[[], Any], what: str = "") -> Any:
    """Wait until a function returns something true; returns that."""
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline, f"not within {PATIENCE:.0f} s: {what or true}"
        time.sleep(0.02)
    return found


def free_port() -> int:
    """A free port of the loopback interface."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether somebody listens at the port."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


def other_file_system(beside: Path) -> Path:
    """A folder on another file system than `beside`, so that a rename between them fails."""
    for folder in map(Path, ("/dev/shm", "/tmp", "/var/tmp")):  # noqa: S108 - which of them does not matter
        if folder.is_dir() and os.access(folder, os.W_OK) and folder.stat().st_dev != beside.stat().st_dev:
            return folder
    absent("there is no second file system here to copy from")


class Client:
    """A running program with its descendants, which end with the test."""

    def __init__(self, name: str, *arguments: object, **options: Any) -> None:
        self.process = subprocess.Popen(
            [program(name), *map(str, arguments)],
            start_new_session=True,
            **{"stdout": subprocess.DEVNULL} | options,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.kill()
        if self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and its descendants."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stall(self) -> None:
        """Stop it halfway, like a network that hangs."""
        assert self.running, "it was done before it could be stopped"
        self.send(signal.SIGSTOP)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it."""
        self.send(number)
        self.send(signal.SIGCONT)
        self.process.wait(PATIENCE)

    def ends(self) -> None:
        """Wait for its successful end."""
        assert self.process.wait(PATIENCE) == 0


class Feed:
    """A FIFO that a client copies from; it gets only what the test gives it."""

    def __init__(self, path: Path, data: bytes) -> None:
        os.mkfifo(path)
        self.path = path
        self._data = memoryview(data)
        # Open for reading too, so that nothing waits here for the client.
        self._fd = os.open(path, os.O_RDWR)

    def give(self, share: float, to: Path) -> None:
        """Give a part of the rest, and wait until the client has read it and writes."""
        part = self._data[: int(len(self._data) * share)]
        self._data = self._data[len(part) :]
        before = size(to)
        _write_all(self._fd, part)
        until(lambda: not self._untaken() and (size(to) != before or not part))

    def end(self) -> None:
        """Give the rest."""
        _write_all(self._fd, self._data)
        os.close(self._fd)

    def _untaken(self) -> int:
        """Bytes that the client has not yet read."""
        return int.from_bytes(fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def size(path: Path) -> int:
    """The size of a file; 0 if it does not exist yet."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]
