"""Runs a hook to its end, under a process that lets nothing outlive it (process/reaper.py)."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from povwatch.core import machine_faults
from povwatch.core.errors import HookFailed, HookUnavailable
from povwatch.process.child import Child
from povwatch.process.output import LimitedLines
from povwatch.process.start import REAPER, child_environment, kill_group

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

TICK = 0.1
"""Seconds between two checks of `cancelled`."""

SLOW = 0.02
"""Seconds between two reads of too much output: the hook waits, the daemon does not."""

OFF, LATE = "off", "late"

END_PATIENCE = 6.0
"""Seconds that the reaper gets to end everything; it needs 5 at most."""

NOT_STARTED = {
    errno.ENOENT: "Is the path in `argv` right? A relative one is relative to config.toml.",
    errno.EACCES: "Let povwatch's user run it (chmod +x, and search every folder on the way).",
    errno.ENOEXEC: "Its first line has to name its interpreter (#!/bin/sh), or name that first in `argv`.",
}
"""Error number -> what to do about a program that cannot be started. machine_faults.py has the machine's shortages."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended."""

    status: int
    """Exit status; negative for a signal."""
    left: tuple[str, ...]
    """Names of the processes that it left behind; they were killed."""
    timed_out: bool
    called_off: bool
    tail: tuple[str, ...]
    """The last lines of its output."""
    left_out: int
    """Number of output lines that were dropped."""


def run_program(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout: float,
    on_line: Callable[[str], None],
    cancelled: threading.Event,
) -> Ended:
    """Run a program, and everything that it starts, to the end. Safe to call from several threads.

    Args:
        env: variables in addition to povwatch's own.
        timeout: seconds; then it gets SIGTERM, and SIGKILL 2 s later.
        on_line: gets each line of output, in this thread.
        cancelled: ends it in the same way.

    Raises:
        HookUnavailable: it cannot be started.
        HookFailed: the process that watches over it was killed.
    """
    try:
        reaper = Child.start([sys.executable, "-I", "-S", str(REAPER)], env=child_environment())
    except OSError as error:
        raise _unavailable(argv, error.errno, str(error)) from error
    with contextlib.closing(_Run(reaper, argv)) as hook:
        # A Python program buffers output into a pipe: its lines would come at its end, and never if it hangs.
        unbuffered = {"PYTHONUNBUFFERED": "1"}
        reaper.send({"argv": list(argv), "cwd": str(cwd), "env": unbuffered | child_environment(env)})
        return hook.follow(timeout, on_line, cancelled)


class _Run:
    """One run of a hook, through its reaper."""

    def __init__(self, reaper: Child, argv: Sequence[str]) -> None:
        self.reaper = reaper
        self.argv = argv
        self.leader: int | None = None
        """The hook's process, which leads a process group."""
        self.answer: dict[str, Any] | None = None
        """The reaper's last message: how the hook ended, or why it did not start."""

    def follow(self, timeout: float, on_line: Callable[[str], None], cancelled: threading.Event) -> Ended:
        """Read until the reaper has ended and all earlier output is read."""
        begun = time.monotonic()
        lines, ending, why = LimitedLines(begun), float("inf"), ""
        while self.reaper.open and time.monotonic() - ending <= END_PATIENCE:  # after that close() kills it
            if not why and (why := _why(time.monotonic() - begun, timeout, cancelled)):
                ending = time.monotonic()
                self.reaper.send("end")
            alive = self.reaper.answering
            answers, output = self.reaper.listen(TICK if alive else 0)
            if not alive and not output:
                break  # an escaped process still has the pipe open
            for answer in answers:
                self.leader = answer.get("started", self.leader)
                if "started" not in answer:
                    self.answer = answer
            for line in lines.take(output, time.monotonic()):
                on_line(line)
            if lines.flooded:
                time.sleep(SLOW)
        for line in lines.end(time.monotonic()):
            on_line(line)
        return self._ended(lines, why)

    def close(self) -> None:
        """Leave no process, zombie or descriptor behind."""
        if self.answer is None and self.leader is not None:  # else the reaper has reaped it
            kill_group(self.leader)
        self.reaper.close()

    def _ended(self, lines: LimitedLines, why: str) -> Ended:
        answer = self.answer
        if answer is None and not why:
            raise HookFailed(
                "The process that watches over it was killed, and the hook with it.",
                "The machine may have run out of memory: look at journalctl -k.",
            )
        if answer is not None and "error" in answer:
            raise _unavailable(self.argv, answer["error"], answer["text"])
        status, left = (answer["status"], answer["left"]) if answer else (-signal.SIGKILL, [])
        return Ended(status, tuple(left), why == LATE, why == OFF, tuple(lines.tail), lines.left_out)


def _why(took: float, timeout: float, cancelled: threading.Event) -> str:
    """Why a run has to end now; empty if it may go on."""
    if cancelled.is_set():
        return OFF
    return LATE if took >= timeout else ""


def _unavailable(argv: Sequence[str], code: int | None, text: str) -> HookUnavailable:
    lacking = machine_faults.rule(code or 0, machine_faults.Place.PROCESS)
    todo = lacking.todo if lacking else NOT_STARTED.get(code or 0, "Check that; it is tried again by itself.")
    return HookUnavailable(f"{argv[0]} cannot be started ({os.strerror(code) if code else text}).", todo)
