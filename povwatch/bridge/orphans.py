"""Kills what an actor that is gone has left behind, on its node. Standard library alone.

A worker and all that it starts have a variable in their environment that names the actor, by its process id and the
time at which it started: a process id alone may be another process's by now.
The reaper and the kernel end them all the same; this is for the case that both the actor and its reaper were killed,
and for programs of the worker that have gone into a session of their own.
"""

from __future__ import annotations

import contextlib
import os
import signal

MARK = "POVWATCH_ACTOR"
"""The variable."""


def mark(pid: int | None = None) -> str:
    """What names a process (ours): its id and its start, in clock ticks since boot.

    Raises:
        OSError: it is gone.
    """
    pid = pid or os.getpid()
    with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123
        after_name = file.read().rpartition(b")")[2].split()
    return f"{pid}-{int(after_name[19])}"


def sweep(*, ours_too: bool = False) -> list[int]:
    """Kill every process whose actor is gone; those of our own actor too if it ends. Returns their ids."""
    killed = []
    for entry in os.listdir("/proc"):  # noqa: PTH208
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        whose = _mark_of(int(entry))
        if whose and (ours_too if whose == mark() else not lives(whose)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(entry), signal.SIGKILL)
                killed.append(int(entry))
    return killed


def _mark_of(pid: int) -> str:
    """The mark in a process's environment; empty without one, or if it is somebody else's."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123
            variables = file.read().split(b"\0")
    except OSError:
        return ""
    name = MARK.encode() + b"="
    return next((one[len(name) :].decode("ascii", "replace") for one in variables if one.startswith(name)), "")


def lives(whose: str) -> bool:
    """Whether the process that a mark names still runs."""
    try:
        return mark(int(whose.partition("-")[0])) == whose
    except (OSError, ValueError):
        return False
