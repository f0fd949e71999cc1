"""Runs a hook, somebody else's program, so that no process of it outlives it. On a node of a pool it runs a worker.

This process is a "subreaper": a descendant whose parent is gone becomes its child. So no descendant of the hook gets
away, neither by a new session nor by a double fork.

One line of JSON comes in on stdin (argv, cwd, env). A second line means that the hook is to end. The end of stdin means
that the daemon is gone. Lines of JSON go out on stdout: {"started": pid} or {"error": errno, "text": s}, then
{"status": n, "left": [names]}. The hook prints to stderr.
Two more fields are for a worker: `keeps` are descriptors that it inherits, and with `apart` this process is nobody's
child, since Ray kills the children of a process that it ends.

This file is started by its path, so it imports the standard library alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import Any

PATIENCE = 2.0
"""Seconds from SIGTERM to SIGKILL."""

UNKILLABLE = 3.0
"""Seconds from SIGKILL until a process that hangs in the kernel is given up."""

OUTPUT = 2
"""Descriptor that the hook prints to."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""From linux/prctl.h."""

prctl = ctypes.CDLL(None, use_errno=True).prctl


def main() -> None:
    """Run one hook to its end."""
    request = json.loads(sys.stdin.buffer.readline())
    if request.get("apart") and os.fork():
        os._exit(0)
    keeps = request.get("keeps", ())
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    bell, ring = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(ring)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    us = os.getpid()
    try:
        hook = subprocess.Popen(  # noqa: S603 - the configuration names the program
            request["argv"],
            cwd=request["cwd"],
            env=request["env"],
            stdin=subprocess.DEVNULL,
            stdout=OUTPUT,
            stderr=OUTPUT,
            pass_fds=keeps,
            start_new_session=True,
            preexec_fn=lambda: _as_new(us),  # noqa: PLW1509 - there is one thread here
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        answer({"error": getattr(error, "errno", None) or 0, "text": str(error)})
        os._exit(0)
    answer({"started": hook.pid})
    for fd in keeps:  # else the other end would not notice that the worker is gone
        os.close(fd)
    status = follow(hook.pid, bell)
    left = end_all({hook.pid})
    answer({"status": -signal.SIGKILL if status is None else status, "left": left})
    os._exit(0)


def follow(hook: int, bell: int) -> int | None:
    """Wait for the hook's end, for the request to end it, or for the daemon's end.

    Returns:
        The hook's exit status; None if the hook has to be killed.
    """
    deadline = float("inf")
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(bell, selectors.EVENT_READ)
        while True:
            status = reaped().get(hook)
            if status is not None or time.monotonic() >= deadline:
                return status
            left = deadline - time.monotonic()
            for key, _ in selector.select(None if left == float("inf") else max(0.0, left)):
                data = os.read(key.fd, 4096)
                if key.fd == bell:
                    continue
                if not data:
                    return None
                deadline = min(deadline, time.monotonic() + PATIENCE)
                signal_group(hook, signal.SIGTERM)


def reaped() -> dict[int, int]:
    """Children that ended since the last call: process id to exit status, negative for a signal."""
    found: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        found[pid] = os.waitstatus_to_exitcode(status)


def end_all(known: set[int]) -> list[str]:
    """Kill every descendant and wait until none is left, not even a zombie.

    Returns:
        The names of the processes that still ran, except those in `known`.
    """
    names: dict[int, str] = {}
    deadline = time.monotonic() + UNKILLABLE
    while not childless() and time.monotonic() < deadline:
        for pid, name in descendants().items():
            if pid not in known:
                names.setdefault(pid, name)
            signal_one(pid, signal.SIGKILL)
        reaped()
        time.sleep(0.005)
    return [names[pid] for pid in sorted(names)]


def childless() -> bool:
    """Whether there is no child, not even a dead one. Then there is no other descendant either."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def descendants() -> dict[int, str]:
    """Every living process below this one: process id to name."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib would be another import
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:  # noqa: PTH123 - as above
                    head, _, rest = file.read().rpartition(b")")
            except OSError:  # gone meanwhile, or somebody else's
                continue
            state, parent = rest.split()[:2]
            if state not in {b"Z", b"X"}:
                names[int(entry)] = head.partition(b"(")[2].decode("utf-8", "backslashreplace")
            parents[int(entry)] = int(parent)
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return {pid: name for pid, name in names.items() if pid in ours and pid != os.getpid()}


def answer(message: dict[str, Any]) -> None:
    """Send a message to the daemon, if it is there."""
    try:
        os.write(1, json.dumps(message).encode() + b"\n")
    except OSError:
        return


def signal_group(leader: int, number: int) -> None:
    """Send a signal to a process group. The group may be gone or, by sudo, somebody else's."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return


def signal_one(pid: int, number: int) -> None:
    """Send a signal to a process. The process may be gone or, by sudo, somebody else's."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _as_new(reaper: int) -> None:
    """Reset signals, and die with the reaper. Runs in the hook's process before its program."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGIO, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != reaper:
        os._exit(1)


if __name__ == "__main__":
    main()
