"""Starts a child, and ends it with everything that it started. Python 3.10, standard library alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

REAPER = Path(__file__).with_name("reaper.py")
"""The program that runs somebody else's program; see there."""


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


def signal_group(leader: int, number: int) -> None:
    """Send a signal to a child and its group. A group that is gone or, by sudo, somebody else's is skipped.

    Call it only before the child was waited for: afterwards its number may be another process's.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def kill_group(leader: int) -> None:
    """Send SIGKILL by `signal_group`."""
    signal_group(leader, signal.SIGKILL)
