"""Run a hook: a supervised child, what it prints, and its end. Safe to call from several threads."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from povwatch import machine_faults
from povwatch.errors import HookFailed, HookUnavailable
from povwatch.process import reaper
from povwatch.process.output import Flow
from povwatch.workers.process import NOT_INHERITED

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence

REAPER = Path(reaper.__file__)

TICK = 0.1
"""Seconds between two looks at `cancelled`."""

SLOW = 0.02
"""Seconds between two reads of a flood: the hook waits, the daemon does not."""

OFF, LATE = "off", "late"

END_PATIENCE = 6.0
"""Seconds for the reaper to end everything; it takes 5 at most."""

NOT_STARTED = {
    errno.ENOENT: "Is the path in `argv` right? A relative one is relative to config.toml.",
    errno.EACCES: "Let povwatch's user run it (chmod +x, and search every folder on the way).",
    errno.ENOEXEC: "Its first line has to name its interpreter (#!/bin/sh), or name that first in `argv`.",
}
"""Why a program cannot be started, and what helps. What the machine lacks for it is in machine_faults.py."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    status: int
    """An exit status; negative for a signal."""
    left: tuple[str, ...]
    """The names of processes that it had left behind; they were killed."""
    timed_out: bool
    called_off: bool
    tail: tuple[str, ...]
    """The last lines of its output."""
    left_out: int
    """Lines of its output that were not told."""


def run(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    told: Callable[[str], None],
    cancelled: threading.Event,
) -> Ended:
    """Run a program to its end, and whatever it started.

    Args:
        argv: the program and its arguments.
        cwd: where it runs.
        env: on top of our own environment.
        timeout: seconds; then it gets SIGTERM, and SIGKILL 2 s later.
        told: gets each line of output, in this thread.
        cancelled: likewise ends it.

    Raises:
        HookUnavailable: it cannot be started.
        HookFailed: the process that watches over it was killed.
    """
    with contextlib.ExitStack() as opened:
        try:
            reaper = _Reaper(argv, cwd, env)
        except OSError as error:
            raise _unavailable(argv, error.errno, str(error)) from error
        opened.callback(reaper.close)
        selector = opened.enter_context(selectors.DefaultSelector())
        return reaper.talk(selector, timeout, told, cancelled)


class _Reaper:
    """The process between us and the hook."""

    def __init__(self, argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.argv = argv
        inherited = {name: value for name, value in os.environ.items() if not NOT_INHERITED.fullmatch(name)}
        # Else a Python program that prints into a pipe has its lines in the log when it ends, and none if it hangs.
        request = {"argv": list(argv), "cwd": str(cwd), "env": {"PYTHONUNBUFFERED": "1", **inherited, **env}}
        self.output, output = os.pipe()
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                [sys.executable, "-I", "-S", str(REAPER), str(output)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                pass_fds=(output,),
                start_new_session=True,
            )
        except BaseException:
            os.close(self.output)
            raise
        finally:
            os.close(output)
        self.started: int | None = None
        self.final: dict[str, Any] | None = None
        self._said = b""
        self._say(json.dumps(request).encode())

    def talk(
        self, selector: selectors.BaseSelector, timeout: float, told: Callable[[str], None], cancelled: threading.Event
    ) -> Ended:
        """Listen until the answers have ended, and what was printed before is read."""
        assert self.process.stdout is not None  # noqa: S101 - asked for above
        answers = self.process.stdout.fileno()
        selector.register(answers, selectors.EVENT_READ)
        selector.register(self.output, selectors.EVENT_READ)
        begun = time.monotonic()
        flow, ending, why = Flow(begun), float("inf"), ""
        while selector.get_map() and time.monotonic() - ending <= END_PATIENCE:  # after that close() kills it
            alive = answers in selector.get_map()
            if not why and (why := _why(time.monotonic() - begun, timeout, cancelled)):
                ending = time.monotonic()
                self._say(b"end")
            ready = selector.select(TICK if alive else 0)
            if not ready and not alive:
                break  # somebody who got away still has it open
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                elif key.fd == answers:
                    self._hear(data)
                else:
                    _tell(flow.take(data, time.monotonic()), told)
            if flow.flooded:
                time.sleep(SLOW)
        _tell(flow.end(time.monotonic()), told)
        return self._ended(flow, why)

    def close(self) -> None:
        """Leave nothing behind: no process, no zombie, no descriptor."""
        if self.process.poll() is None or self.final is None:
            for group in filter(None, (self.started, self.process.pid if self.process.returncode is None else None)):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(group, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        os.close(self.output)
        self.process.wait()

    def _say(self, line: bytes) -> None:
        assert self.process.stdin is not None  # noqa: S101 - asked for above
        with contextlib.suppress(BrokenPipeError):  # it is gone; its answers end, and that is seen
            self.process.stdin.write(line + b"\n")
            self.process.stdin.flush()  # and left open: its end tells the reaper that we are gone

    def _hear(self, data: bytes) -> None:
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            self.started = message.get("started", self.started)
            if "status" in message or "error" in message:
                self.final = message

    def _ended(self, flow: Flow, why: str) -> Ended:
        final = self.final
        if final is None and not why:
            raise HookFailed(
                "The process that watches over it was killed, and the hook with it.",
                "The machine may have run out of memory: look at journalctl -k.",
            )
        if final is not None and "error" in final:
            raise _unavailable(self.argv, final["error"], final["text"])
        status, left = (final["status"], final["left"]) if final else (-signal.SIGKILL, [])
        return Ended(status, tuple(left), why == LATE, why == OFF, tuple(flow.tail), flow.left_out)


def _why(took: float, timeout: float, cancelled: threading.Event) -> str:
    """Why a run has to end now; empty if it has not."""
    if cancelled.is_set():
        return OFF
    return LATE if took >= timeout else ""


def _tell(lines: Sequence[str], told: Callable[[str], None]) -> None:
    for line in lines:
        told(line)


def _unavailable(argv: Sequence[str], code: int | None, text: str) -> HookUnavailable:
    lacking = machine_faults.rule(code or 0, machine_faults.Place.PROCESS)
    todo = lacking.todo if lacking else NOT_STARTED.get(code or 0, "See to that; it is tried again by itself.")
    return HookUnavailable(f"{argv[0]} cannot be started ({os.strerror(code) if code else text}).", todo)
