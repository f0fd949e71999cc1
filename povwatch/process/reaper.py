"""The process between the daemon and somebody else's program, a hook: nothing that the hook started outlives it.

It is a "subreaper": a process whose parent is gone becomes its child. So nothing that descends from the hook gets away,
neither by a new session nor by a double fork.

One line of JSON comes in on stdin (argv, cwd, env), then perhaps another, which means that the hook is to end. The end
of stdin means that the daemon is gone. Lines of JSON go out on stdout: {"started": pid} or {"error": errno, "text": s},
then {"status": n, "left": [names]}. The hook prints to stderr.

It is started by its path, so it imports the standard library alone.
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
"""Seconds from SIGKILL until a process that does not die is left alone: it hangs in the kernel."""

OUTPUT = 2
"""The descriptor that the hook prints to."""

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
"""From linux/prctl.h."""

prctl = ctypes.CDLL(None, use_errno=True).prctl


def main() -> None:
    """Run one hook to its end."""
    request = json.loads(sys.stdin.buffer.readline())
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
            start_new_session=True,
            preexec_fn=lambda: _as_new(us),  # noqa: PLW1509 - there is one thread here
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        answer({"error": getattr(error, "errno", None) or 0, "text": str(error)})
        os._exit(0)
    answer({"started": hook.pid})
    status = follow(hook.pid, bell)
    left = end_all({hook.pid})
    answer({"status": -signal.SIGKILL if status is None else status, "left": left})
    os._exit(0)


def follow(hook: int, bell: int) -> int | None:
    """Wait for the hook's end, for the word to end it, or for the daemon's end.

    Returns:
        Its status; None if it has to be killed.
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
    """The children that have ended since the last call, by process id: an exit status, negative for a signal."""
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
    """Kill every descendant and wait for its end, until there is none: no zombie is left to others.

    Returns:
        The names of the processes that were still there, except those in `known`.
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
    """Whether there is no child, not even a dead one; then there is no other descendant either."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


def descendants() -> dict[int, str]:
    """Every process below this one that has not ended, and its name."""
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
    """Tell the daemon, if it is there."""
    try:
        os.write(1, json.dumps(message).encode() + b"\n")
    except OSError:
        return


def signal_group(leader: int, number: int) -> None:
    """Send a signal to a process group that may be gone, or that became somebody else's (sudo)."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return


def signal_one(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone, or that became somebody else's (sudo)."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return


def _as_new(reaper: int) -> None:
    """In the hook's process, before its program: signals as a program expects them, and death with the reaper."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGIO, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != reaper:
        os._exit(1)


if __name__ == "__main__":
    main()
