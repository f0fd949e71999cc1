"""Starts a child, ends it with everything that it started, and describes its end. Python 3.10, standard library alone.

Why a child could not be started is in core/machine_faults.py.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

REAPER = Path(__file__).with_name("reaper.py")
"""The program that runs somebody else's program; see there."""

WORKER = Path(__file__).parent.parent / "workers/worker.py"
"""The program that runs a worker; see there."""

NOT_INHERITED = re.compile(r"NOTIFY_SOCKET|WATCHDOG_(USEC|PID)|LISTEN_\w+|PYTHON(PATH|HOME)|VIRTUAL_ENV")
"""Variables that are meant for the daemon alone, or that would show another interpreter our packages."""

LIKELY: Mapping[int, str] = {
    signal.SIGKILL: "often the kernel's out-of-memory killer: see journalctl -k",
    signal.SIGSEGV: "a crash in a library: its traceback is in the log",
    signal.SIGABRT: "a library gave up: its last words are in the log",
}
"""A signal to its most likely cause, for a child whose output is in the log."""


def start(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = None,
    stderr: int | None = None,
    keeps: Collection[int] = (),
    own_session: bool = True,
) -> subprocess.Popen[bytes]:
    """Start a child. It inherits `env`, its three streams and the descriptors in `keeps`, and nothing else.

    Without a `stdout` or a `stderr` it uses ours.
    With a session of its own, it gets no signal of the daemon's terminal and leads a process group that `kill_group`
    ends. Without one, it is in our group and ends with that group.

    Raises:
        OSError: There is no such program, or no descriptor, process or memory is available.
    """
    return subprocess.Popen(  # noqa: S603 - our own files, or what the configuration names
        argv,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=env,
        pass_fds=keeps,
        start_new_session=own_session,
    )


def worker_command(python: str, engine: str, channel: int) -> list[str]:
    """The command that starts a worker, which inherits the socket `channel` (a descriptor); see Launch.engine."""
    return [python, str(WORKER), "--engine", engine, "--fd", str(channel)]


def signal_group(leader: int, number: int) -> None:
    """Send a signal to a child and its group. A group that is gone or, by sudo, somebody else's is skipped.

    Call it only before the child was waited for: afterwards its number may be another process's.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def kill_group(leader: int) -> None:
    """Send SIGKILL by `signal_group`."""
    signal_group(leader, signal.SIGKILL)


def child_environment(*more: Mapping[str, str]) -> dict[str, str]:
    """Our environment as a child gets it, updated with each mapping of `more` in turn."""
    environment = {name: value for name, value in os.environ.items() if not NOT_INHERITED.fullmatch(name)}
    for variables in more:
        environment.update(variables)
    return environment


def describe_end(returncode: int, likely: Mapping[int, str] = LIKELY) -> str:
    """Describe a child's end in words that follow its name: "exited with status 1", "was killed by SIGKILL (...)".

    Args:
        returncode: Exit status; negative for a signal.
        likely: A signal's number to its most likely cause.
    """
    if returncode >= 0:
        return f"exited with status {returncode}"
    number = -returncode
    try:
        name = signal.Signals(number).name
    except ValueError:  # a real-time signal
        name = f"signal {number}"
    return f"was killed by {name} ({likely[number]})" if number in likely else f"was killed by {name}"
