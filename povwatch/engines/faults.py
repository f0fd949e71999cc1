"""Interprets exceptions from an engine. Python 3.10, standard library alone.

The engines' libraries are not imported here. Their exceptions are recognized by class name and text.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from typing import TYPE_CHECKING, cast

from povwatch.core import machine_faults
from povwatch.engines.port import EngineFailure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Iterator

GENERATE = machine_faults.Place.GENERATE

MESSAGE_MAX = 2000
"""Characters of an exception's text that are passed on; the worker's output has the whole text."""

# The order matters: "CUDA error: out of memory" is not sticky, though it contains "CUDA error".
_BY_TEXT: tuple[tuple[FailureKind, tuple[str, ...]], ...] = (
    ("gpu-lost", ("gpu is lost", "gpu_is_lost", "fallen off the bus", "xid 79", "xid: 79")),
    ("gpu-busy", ("all cuda-capable devices are busy or unavailable",)),
    ("out-of-memory", ("cuda out of memory", "cuda error: out of memory", "cublas_status_alloc_failed")),
    ("sticky", ("cuda error", "illegal memory access", "device-side assert", "unspecified launch failure")),
)

_TODO: dict[FailureKind, str] = {
    "out-of-memory": "Ask for a lower resolution or fewer controls in the JSON, or free memory on this machine.",
    "gpu-lost": "See `nvidia-smi` and `journalctl -k`; the GPU comes back after a reset or a reboot.",
    "gpu-busy": "See `nvidia-smi` for the process that holds the GPU.",
    **dict.fromkeys(("disk-full", "not-writable", "shortage", "disk-failing", "outputs-away"), ""),  # machine_faults.py
    "sticky": "The GPU's state was spoilt and the worker is replaced; see `journalctl -k` for an Xid.",
    "invalid": "",
    "error": "The log has the whole traceback.",
}


def classify(error: BaseException, workdir: str = "") -> tuple[FailureKind, str, str]:
    """The kind of failure, what happened in one line, and what to do about it.

    An engine's own EngineFailure stands. The exceptions that an exception was raised from count too, because libraries
    wrap a lost GPU or a full disk in errors of their own. Refusals of the machine use the words of
    `machine_faults.TABLE`, without the exception's class. `workdir` is the job's folder; it is empty during a load.
    """
    if isinstance(error, EngineFailure):
        return error.kind, error.message[:MESSAGE_MAX], error.todo or _TODO.get(error.kind, "")
    for one in _chain(error):
        if (kind := _kind(one, workdir)) is None:
            continue
        if kind not in machine_faults.KINDS:
            wrapped = "" if one is error else f" ({_last_line(one)})"
            return kind, f"{_last_line(error)}{wrapped}"[:MESSAGE_MAX], _TODO[kind]
        if isinstance(one, EngineFailure):
            return kind, one.message[:MESSAGE_MAX], one.todo
        what, todo = _refused(one, workdir)
        return kind, what[:MESSAGE_MAX], todo
    return "error", _last_line(error), _TODO["error"]


def root(error: BaseException) -> str:
    """The first error of a chain, in one line without a full stop: libraries wrap import errors three deep."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _refused(error: BaseException, workdir: str) -> tuple[str, str]:
    code = _code(error) or 0
    named = _named(error)
    known = machine_faults.translated(OSError(code, os.strerror(code)), GENERATE, named or workdir)
    if not workdir:
        where = f" ({named})" if named else ""
        return f"The engine could not be loaded: {os.strerror(code)}{where}.", known.todo
    return known.what, known.todo


def _named(error: BaseException) -> str:
    """The file that an error names, as a path that helps people; empty if it names none."""
    name = getattr(error, "filename", None)
    if not isinstance(name, (str, bytes)) or not name:
        return ""
    path = os.fsdecode(name)
    if path.startswith(("/proc/", "/dev/fd/")):
        with contextlib.suppress(OSError):
            there = os.readlink(path)  # noqa: PTH115 - pathlib is slow to import
            return there if os.path.exists(there) else ""  # noqa: PTH110
        return ""
    return os.path.abspath(path)  # noqa: PTH100


def _kind(error: BaseException, workdir: str) -> FailureKind | None:
    if isinstance(error, EngineFailure):
        return error.kind
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "shortage" if isinstance(error, MemoryError) and not machine_faults.gives_memory() else "out-of-memory"
    text = str(error).lower()
    by_text = next((kind for kind, marks in _BY_TEXT if any(mark in text for mark in marks)), None)
    return by_text or _of_the_machine(error, workdir)


def _of_the_machine(error: BaseException, workdir: str) -> FailureKind | None:
    """The kind of a failure that the host caused; see machine_faults.TABLE."""
    row = machine_faults.rule(_code(error) or 0, GENERATE)
    if row is None or machine_faults.said_by_ffmpeg_alone(error, workdir):
        return None
    return cast("FailureKind", next(kind for kind, of in machine_faults.KINDS.items() if of is row.error))


def _code(error: BaseException) -> int | None:
    """The error number of an exception. A library's own error counts only if no job's contents could cause it."""
    code = machine_faults.code_of(error)
    return machine_faults.code_in(str(error)) if code is None and isinstance(error, Exception) else code


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, then those that it was raised from or while handling."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _last_line(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"The engine called sys.exit({error.code!r})."
    return traceback.format_exception_only(type(error), error)[-1].strip()[:MESSAGE_MAX]
