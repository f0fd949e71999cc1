"""script/run with [pool] kind = "ray": the daemon, and `povwatch pool` beside it, which ends with it.

Under systemd each of them is a unit of its own instead.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from povwatch.core.waker import Waker
from povwatch.process.lifeline import PR_SET_PDEATHSIG
from povwatch.process.start import child_environment, start

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

POVWATCH = (sys.executable, "-m", "povwatch")

CHILD = "--child-of"

POOL_SECONDS = 30.0
"""Seconds for `povwatch pool` to end: it ends its workers and the head."""


def main(arguments: Sequence[str]) -> int:
    """Run both until the daemon ends; its exit status.

    Args:
        arguments: of `povwatch run`.
    """
    both = _Both(arguments)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, both.pass_on)
    signal.signal(signal.SIGCHLD, lambda *_: both.waker.wake())
    return both.run()


class _Both:
    def __init__(self, arguments: Sequence[str]) -> None:
        self.waker = Waker()
        self._pool = _start("pool")
        self._daemon = _start("run", *arguments)

    def pass_on(self, number: int, _: object) -> None:
        """Handle a signal: it is meant for the daemon, which may hand its clip back first."""
        self._daemon.send_signal(number)

    def run(self) -> int:
        while (status := self._daemon.poll()) is None:
            self._pool.poll()
            self.waker.sleep(60.0)
        if self._pool.poll() is None:
            self._pool.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + POOL_SECONDS
        while self._pool.poll() is None and time.monotonic() < deadline:
            self.waker.sleep(1.0)
        if self._pool.poll() is None:
            self._pool.kill()
            self._pool.wait()
        return status if status >= 0 else 128 - status


def _start(*words: str) -> subprocess.Popen[bytes]:
    """Start povwatch in a session of its own, where the terminal's Ctrl-C comes from us alone."""
    argv = [sys.executable, "-m", __name__ if __name__ != "__main__" else __spec__.name, CHILD, str(os.getpid())]
    return start([*argv, *words], env=child_environment(), stdin=0)


def _become(parent: int, words: Sequence[str]) -> None:
    """Become povwatch, which is told to end when its parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit(1)
    os.execv(POVWATCH[0], [*POVWATCH, *words])  # noqa: S606 - no shell is meant


if __name__ == "__main__":
    if sys.argv[1:2] == [CHILD]:
        _become(int(sys.argv[2]), sys.argv[3:])
    sys.exit(main(sys.argv[1:]))
