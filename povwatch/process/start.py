"""How a child is started, and how it is ended with all that it started. Python 3.10, standard library alone."""

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
"""Runs somebody else's program: see there."""


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
    """Start a child. It inherits `env`, its three streams and the descriptors that it `keeps`, and nothing else.

    Without a `stdout` or a `stderr` it has ours.
    With a session of its own it hears no signal of the daemon's terminal, and leads a process group that `kill_group`
    ends. Without one it is in our group, and what ends that one ends it too.

    Raises:
        OSError: There is no such program, or no descriptor, process or memory to be had.
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
    """Send a signal to a child and to all of its group; nothing happens if it is gone or became somebody else's (sudo).

    Only for a child that nobody has waited for yet: after that, its number may be another process's.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def kill_group(leader: int) -> None:
    """`signal_group` with SIGKILL."""
    signal_group(leader, signal.SIGKILL)
