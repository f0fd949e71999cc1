"""Starts the bridge as a child, and anew when it has died: Ray ends the process of a driver whose head is away."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from typing import TYPE_CHECKING

from povwatch.core.errors import ConfigError
from povwatch.core.events import say
from povwatch.core.retry import backoff
from povwatch.core.waker import Waker
from povwatch.process.start import child_environment, describe_end, start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

LOCK = "pool.lock"

VARIABLE = "POVWATCH_BRIDGE"
"""The variable in the environment of the child, with its parent's process id."""

PROVEN = 120.0
"""Seconds after which a bridge counts as good: the pauses after failures start anew."""

FINAL = frozenset({0, 2, 3})
"""Exit statuses after which there is no other bridge: it was stopped, is not configured, or not taken."""

LIKELY: Mapping[int, str] = {signal.SIGKILL: "often the kernel's out-of-memory killer: see journalctl -k"}


def supervise(command: Sequence[str]) -> int:
    """Run a bridge until it is stopped; return its exit status.

    Args:
        command: starts it, as a child of this process.
    """
    supervisor = _Supervisor(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop())
    signal.signal(signal.SIGCHLD, lambda *_: supervisor.waker.wake())
    return supervisor.run()


@contextlib.contextmanager
def held(state: Path) -> Iterator[None]:
    """Hold the lock of the only bridge.

    Raises:
        ConfigError: another one has it.
        OSError: it cannot be made.
    """
    state.mkdir(parents=True, exist_ok=True)
    fd = os.open(state / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            raise ConfigError(
                f"Another bridge to the pool (pid {pid}) serves the daemon in {state}.",
                f"One is enough. To replace it: systemctl restart povwatch-pool, or kill {pid}.",
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


class _Supervisor:
    def __init__(self, command: Sequence[str]) -> None:
        self.waker = Waker()
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def run(self) -> int:
        failures = 0
        while True:
            begun = time.monotonic()
            self._child = start(self._command, env=child_environment({VARIABLE: str(os.getpid())}))
            if self._ended():
                self.stop()
            while (status := self._child.poll()) is None:
                self.waker.sleep(60.0)
            if status in FINAL or self._ended():
                return 0 if self._ended() else status
            failures = 1 if time.monotonic() - begun >= PROVEN else failures + 1
            pause = backoff(failures)
            say("bridge-died", how=describe_end(status, LIKELY), seconds=round(pause))
            until = time.monotonic() + pause
            while (left := until - time.monotonic()) > 0 and not self._ended():
                self.waker.sleep(left)
            if self._ended():
                return 0

    def _ended(self) -> bool:
        """Whether it was stopped, by a signal that may come at any moment."""
        return self._stopped

    def stop(self) -> None:
        """Handle a signal: end the bridge. Of SIGTERM Ray would print where it was."""
        self._stopped = True
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(signal.SIGINT)
        self.waker.wake()
