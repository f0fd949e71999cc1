"""Runs one piece of media work in a child, within limits.

The daemon never loads FFmpeg into its own process, so neither a hostile file nor a bug in a decoder can end it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from povwatch.core import errors, machine_faults
from povwatch.media.errors import STEPS, MediaError, MediaKilled, MediaStopped, MediaTooSlow, NoProcess, TooLarge
from povwatch.process.child import Child
from povwatch.process.output import Lines
from povwatch.process.start import child_environment, describe_end

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TICK = 0.1
"""Seconds between two looks at `cancelled`."""

LAST_WORDS = 4000
"""Bytes of the child's last line of output that a message has."""

RESULT_MAX = 8 * 2**20
"""Bytes of one answer; a longer one is an error."""

SMALL = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""Variables that keep a child's address space small: the C library reserves 64 MiB of heap for each thread."""

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
"""Classes of error that a child may report."""


@dataclass(frozen=True, slots=True)
class Program:
    """A child's program, which listens and answers as media/child.py does."""

    module: str
    environment: Mapping[str, str]
    """Variables over ours."""

    def started(self, op: str) -> Child:
        """Start it for an operation.

        Raises:
            OSError: see process.start.start.
        """
        return Child.start([sys.executable, "-I", "-m", self.module, op], env=child_environment(self.environment))


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of the child."""

    memory: int | None = 12 * 2**30
    """Bytes of address space; threaded decoders of 8K video need several GiB. None: no limit, for CUDA reserves more
    than there is."""
    cpu_seconds: int = 4 * 3600
    file_bytes: int = 2**40
    """The largest file it may write."""
    nice: int = 5


EXAMINE = Limits(memory=2**30, cpu_seconds=60, file_bytes=2**20)
"""Limits for a container's index: ten hours of 60 frames a second, with gaps, take less than half of that memory."""

PROBE = Limits(memory=8 * 2**30, cpu_seconds=900, file_bytes=2**30)
"""Limits for a file that was not examined yet."""

WORK = Limits()
"""Limits for a clip that passed."""


def call(
    op: str,
    args: dict[str, Any],
    *,
    timeout: float,
    folder: str | None = None,
    limits: Limits = WORK,
    on_progress: Callable[[float], None] | None = None,
    cancelled: Callable[[], bool] | threading.Event | None = None,
    program: Program | None = None,
) -> dict[str, Any]:
    """Do `op` with `args` in a child and return its result. Safe to call from several threads.

    Args:
        args: Values for JSON; paths as from `os.fsdecode`.
        timeout: Seconds by the wall clock.
        folder: A private folder. The child checks it and works in it, even if its name is taken later; relative paths
            are relative to it.
        on_progress: Gets the fraction that is done, 0 to 1, in this thread.
        cancelled: Asked ten times a second whether to stop.
        program: What the child is; a media child by default.

    Raises:
        OutputsAway: The folder is gone, or belongs to somebody else.
        PovwatchError: What the child reported, in its own class.
        MediaError: The child died or broke a limit; MediaKilled if it was killed.
        MediaTooSlow: It took longer than `timeout`.
        MediaStopped: `cancelled` said so.
        NoProcess: No child, or no thread of it, can be started now.
    """
    stop = cancelled.is_set if isinstance(cancelled, threading.Event) else cancelled
    try:
        child = _started(op) if program is None else program.started(op)
    except OSError as error:
        raise _no_process(op, error) from error
    with contextlib.closing(child):
        child.send({"args": args, "folder": folder, "limits": asdict(limits), "parent": os.getpid()})
        answer, printed = _listen(child, op, timeout, on_progress, stop)
        status = child.wait()
    if answer is None:
        raise _died(op, status, limits, printed)
    if "error" in answer:
        fault = answer["error"]
        raise PASSED_ON.get(fault["class"], MediaError)(fault["what"], fault["todo"])
    return dict(answer["result"])


def _listen(
    child: Child,
    op: str,
    timeout: float,
    on_progress: Callable[[float], None] | None,
    stop: Callable[[], bool] | None,
) -> tuple[dict[str, Any] | None, Lines]:
    """Read until the child is done; return its answer, None without one, and its output."""
    deadline = time.monotonic() + timeout
    answer: dict[str, Any] | None = None
    printed = Lines(longest=LAST_WORDS, kept=1)
    while child.open:
        if stop is not None and stop():
            raise MediaStopped(f"{STEPS[op]} was called off.")
        left = deadline - time.monotonic()
        if left <= 0:
            raise MediaTooSlow(
                f"{STEPS[op]} took longer than {timeout:.0f} s and was stopped.",
                "If the machine is busy it may succeed later; else shorten the clip.",
            )
        messages, output = child.listen(min(TICK, left))
        printed.take(output)
        for message in messages:
            if "progress" not in message:
                answer = message
            elif on_progress is not None:
                on_progress(message["progress"])
        if child.unfinished > RESULT_MAX:
            raise MediaError(f"{STEPS[op]} answered with more than {RESULT_MAX} bytes.")
    printed.end()
    return answer, printed


def _started(op: str) -> Child:
    return Program("povwatch.media.child", SMALL).started(op)


def _no_process(op: str, error: OSError) -> NoProcess:
    known = machine_faults.blamed(error, machine_faults.Place.PROCESS, op)
    if known is not None:
        return NoProcess(known.what, known.todo)
    todo = f"Is povwatch installed as a whole? Its Python is {sys.executable}."
    return NoProcess(f"{STEPS[op]} takes a process, and none could be started ({error.strerror or error}).", todo)


def _died(op: str, status: int, limits: Limits, printed: Lines) -> MediaError | NoProcess:
    """The error of a child that ended without an answer: how it ended, and the limit that it may have broken."""
    last_words = f"Its last words: {printed.tail[-1]}" if printed.tail else "It left no message."
    lacking = machine_faults.code_in(last_words) if status > 0 else None
    if lacking and machine_faults.rule(
        lacking, machine_faults.Place.PROCESS
    ):  # the child could not report it as an answer
        return _no_process(op, OSError(lacking, os.strerror(lacking)))
    processor = f"{limits.cpu_seconds} s of processor time"
    if status == -signal.SIGXCPU:
        return MediaError(f"{STEPS[op]} used more than {processor} and was stopped.", last_words)
    if status == -signal.SIGKILL:
        why = f"the machine ran out of memory, or it used {processor}, its limit: see journalctl -k"
        ended = describe_end(status, {signal.SIGKILL: why})
        return MediaKilled(f"{STEPS[op]} ended early: its process {ended}.", last_words)
    memory = f"; its memory limit was {limits.memory / 2**30:.1f} GiB" if limits.memory else ""
    ended = f"its process {describe_end(status, {})} and gave no answer"
    return MediaError(f"{STEPS[op]} ended early: {ended}{memory}.", last_words)
