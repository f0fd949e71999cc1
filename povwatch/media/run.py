"""Have a child do one piece of media work, within limits.

Standard library alone, and safe to call from several threads: the daemon never loads FFmpeg into its own process, so
neither a hostile file nor a bug in a decoder can take it down.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from povwatch import errors, machine_faults
from povwatch.media.errors import MediaError, MediaKilled, MediaStopped, NoProcess, TooLarge

if TYPE_CHECKING:
    from collections.abc import Callable

TICK = 0.1
"""Seconds between two looks at `cancelled`."""

TAIL = 4000
"""Bytes of the child's error output that are kept for the message."""

RESULT_MAX = 8 * 2**20
"""Bytes of output after which the child is taken for mad."""

PASSED_ON = {
    kind.__name__: kind
    for kind in (
        errors.NotAVideo,
        errors.CheckFailed,
        errors.DiskFull,
        errors.WriteFailed,
        errors.Shortage,
        errors.OutputsNotWritable,
        errors.OutputsAway,
        errors.OutputsTaken,
        errors.EnvironmentFault,
        errors.SourceChanged,
        errors.JobFailed,
        MediaError,
        MediaStopped,
        NoProcess,
        TooLarge,
    )
}
"""The classes of error that a child may report."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use."""

    memory: int = 12 * 2**30
    """Bytes of address space: decoders of 8K video with their threads need several GiB of it."""
    cpu_seconds: int = 4 * 3600
    file_bytes: int = 2**40
    """The largest file it may write."""
    nice: int = 5


EXAMINE = Limits(memory=2**30, cpu_seconds=60, file_bytes=2**20)
"""For a container's index: ten hours of 60 frames a second, with holes in it, take less than half of that memory."""

PROBE = Limits(memory=8 * 2**30, cpu_seconds=900, file_bytes=2**30)
"""For a file nobody has looked at yet."""

WORK = Limits()
"""For a clip that passed."""


def call(
    op: str,
    args: dict[str, Any],
    *,
    timeout: float,
    room: str | None = None,
    limits: Limits = WORK,
    on_progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | threading.Event | None = None,
) -> dict[str, Any]:
    """Do `op` with `args` in a child and return what it found.

    Args:
        op: `examine`, `inspect`, `glimpse`, `measure`, `prepare`, `finish` or `check`; see child.py.
        args: JSON-able; paths as `os.fsdecode` has them.
        timeout: seconds by the wall clock.
        room: a private folder; the child sees that it is one, and is in it from then on, whatever takes its name:
            paths that are relative are relative to it.
        limits: what the child may use.
        on_progress: told the fraction that is done, 0 to 1, in this thread.
        cancelled: looked at ten times a second.

    Raises:
        OutputsAway: the room is gone, or somebody else's.
        PovwatchError: what the child reported, in its own class.
        MediaError: the child died, broke a limit or took longer than `timeout`; MediaKilled if it was killed.
        MediaStopped: `cancelled` said so.
        NoProcess: no child, or no thread of it, could be started at present.
    """
    stop = cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled
    with contextlib.ExitStack() as opened:
        try:
            selector = opened.enter_context(selectors.DefaultSelector())
            child = _Child(op, args, limits, room)
        except OSError as error:
            raise _no_process(op, error) from error
        opened.callback(child.end)
        return child.talk(selector, time.monotonic() + timeout, timeout, on_progress, stop)


class _Child:
    """One child process and what it said so far."""

    def __init__(self, op: str, args: dict[str, Any], limits: Limits, room: str | None) -> None:
        self.op = op
        self.limits = limits
        self.errors = b""
        self.result: dict[str, Any] | None = None
        self.process = _started(op)
        request = json.dumps({"args": args, "room": room, "limits": asdict(limits), "parent": os.getpid()})
        assert self.process.stdin is not None  # noqa: S101 - asked for above
        with contextlib.suppress(BrokenPipeError):  # it died already; talk() says how
            self.process.stdin.write(request.encode() + b"\n")
            self.process.stdin.flush()  # and left open: its end tells the child that we are gone

    def talk(
        self,
        selector: selectors.BaseSelector,
        deadline: float,
        timeout: float,
        on_progress: Callable[[float], None] | None,
        stop: Callable[[], bool] | None,
    ) -> dict[str, Any]:
        """Listen until the child is done; return its result or raise its error."""
        assert self.process.stdout is not None and self.process.stderr is not None  # noqa: S101, PT018 - asked for above
        buffer = b""
        selector.register(self.process.stdout, selectors.EVENT_READ)
        selector.register(self.process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            if stop is not None and stop():
                raise MediaStopped(f"{self.op} was called off.")
            left = deadline - time.monotonic()
            if left <= 0:
                raise MediaError(
                    f"{self.op} took longer than {timeout:.0f} s and was stopped.",
                    "If the machine is busy it may succeed later; else shorten the clip.",
                )
            for key, _ in selector.select(min(TICK, left)):
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is self.process.stderr:
                    self.errors = (self.errors + data)[-TAIL:]
                else:
                    buffer = self._take(buffer + data, on_progress)
        return self._outcome()

    def end(self) -> None:
        """Leave nothing behind: no process, no zombie, no descriptor."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.process.wait()

    def _take(self, buffer: bytes, on_progress: Callable[[float], None] | None) -> bytes:
        """Read the whole lines of the buffer; give back the rest."""
        if len(buffer) > RESULT_MAX:
            raise MediaError(f"{self.op} answered with more than {RESULT_MAX} bytes.")
        *lines, rest = buffer.split(b"\n")
        for line in lines:
            message = json.loads(line)
            if "progress" in message:
                if on_progress is not None:
                    on_progress(message["progress"])
            else:
                self.result = message
        return rest

    def _outcome(self) -> dict[str, Any]:
        status = self.process.wait()
        if self.result is not None and "result" in self.result:
            return dict(self.result["result"])
        if self.result is not None:
            fault = self.result["error"]
            raise PASSED_ON.get(fault["class"], MediaError)(fault["what"], fault["todo"])
        lacking = machine_faults.code_in(self._last_words()) if status > 0 else None
        if lacking and machine_faults.rule(lacking, machine_faults.Place.PROCESS):
            # It did not come as far as to say so itself.
            raise _no_process(self.op, OSError(lacking, os.strerror(lacking)))
        died = MediaKilled if status == -signal.SIGKILL else MediaError
        raise died(f"{self.op} {self._death(status)}", self._last_words())

    def _death(self, status: int) -> str:
        """How the child ended, in words, with the limit that it broke."""
        if status == -signal.SIGXCPU:
            return f"used more than {self.limits.cpu_seconds} s of processor time and was stopped."
        if status == -signal.SIGKILL:
            return (
                "was killed by SIGKILL: the machine ran out of memory, or the processor limit of "
                f"{self.limits.cpu_seconds} s was passed (see journalctl -k)."
            )
        if status < 0:
            name = signal.Signals(-status).name
            return f"died of {name}; its memory limit was {self.limits.memory / 2**30:.1f} GiB."
        return f"ended with status {status} and no answer; its memory limit was {self.limits.memory / 2**30:.1f} GiB."

    def _last_words(self) -> str:
        lines = self.errors.decode("utf-8", "backslashreplace").strip().splitlines()
        return f"Its last words: {lines[-1]}" if lines else "It left no message."


def _started(op: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-I", "-m", "povwatch.media.child", op],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
        start_new_session=True,
    )


def _no_process(op: str, error: OSError) -> NoProcess:
    known = machine_faults.blamed(error, machine_faults.Place.PROCESS, op)
    if known is not None:
        return NoProcess(known.what, known.todo)
    todo = f"Is povwatch installed as a whole? Its Python is {sys.executable}."
    return NoProcess(f"No process could be started for {op} ({error.strerror or error}).", todo)


def _environment() -> dict[str, str]:
    """The child's environment: no notification socket, and little address space for what it does not need.

    That is numpy's algebra, and the C library's heap for each thread (64 MiB each).
    """
    kept = {k: v for k, v in os.environ.items() if k not in {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}}
    return {**kept, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
