"""What an exception from an engine means. Python 3.10, standard library alone.

The engines' libraries are not imported here: their exceptions are known by class name and text.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, cast

from povwatch import machine_faults
from povwatch.engine.port import EngineFailure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Iterator

GENERATE = machine_faults.Place.GENERATE

MESSAGE_MAX = 2000
"""Characters of an exception's text that are passed on; all of it is in the worker's output."""

# In this order: "CUDA error: out of memory" is no sticky error, though it looks like one.
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

    Args:
        error: what was raised.
        workdir: where the job was at work; empty where there was no job.

    An engine's own word (EngineFailure) stands; else what the exception was raised from counts too, since libraries
    wrap a lost GPU or a full disk in errors of their own.
    """
    if isinstance(error, EngineFailure):
        return error.kind, error.message[:MESSAGE_MAX], error.todo or _TODO.get(error.kind, "")
    for one in _chain(error):
        if (kind := _kind(one, workdir)) is not None:
            wrapped = "" if one is error else f" ({_last_line(one)})"
            row = machine_faults.rule(machine_faults.code_of(one) or machine_faults.code_in(str(one)) or 0, GENERATE)
            return kind, f"{_last_line(error)}{wrapped}"[:MESSAGE_MAX], _TODO[kind] or (row.todo if row else "")
    return "error", _last_line(error), _TODO["error"]


def _kind(error: BaseException, workdir: str) -> FailureKind | None:
    if isinstance(error, EngineFailure):
        return error.kind
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "shortage" if isinstance(error, MemoryError) and not machine_faults.gives_memory() else "out-of-memory"
    text = str(error).lower()
    by_text = next((kind for kind, marks in _BY_TEXT if any(mark in text for mark in marks)), None)
    return by_text or _of_the_machine(error, workdir)


def _of_the_machine(error: BaseException, workdir: str) -> FailureKind | None:
    """The kind of a failure that the host is to blame for; see machine_faults.TABLE."""
    code = machine_faults.code_of(error)
    if code is None and isinstance(error, Exception):  # a library's own error: only what no job's contents can say
        code = machine_faults.code_in(str(error))
    row = machine_faults.rule(code or 0, GENERATE)
    if row is None or machine_faults.said_by_ffmpeg_alone(error, workdir):
        return None
    return cast("FailureKind", next(kind for kind, of in machine_faults.KINDS.items() if of is row.error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, then what it was raised from or in the handling of."""
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
