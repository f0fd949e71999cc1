"""What an exception from an engine means. Pure; Python 3.10, standard library alone.

The engines' libraries are not imported here: their exceptions are known by class name and text.
"""

from __future__ import annotations

import errno
import traceback
from typing import TYPE_CHECKING

from povwatch.engine.port import EngineFailure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    "disk-full": "Free some space.",
    "sticky": "The GPU's state was spoilt and the worker is replaced; see `journalctl -k` for an Xid.",
    "invalid": "",
    "error": "The log has the whole traceback.",
}


def classify(error: BaseException) -> tuple[FailureKind, str, str]:
    """The kind of failure, what happened in one line, and what to do about it.

    An engine's own word (EngineFailure) stands; else what the exception was raised from counts too, since libraries
    wrap a lost GPU or a full disk in errors of their own.
    """
    if isinstance(error, EngineFailure):
        return error.kind, error.message[:MESSAGE_MAX], error.todo or _TODO.get(error.kind, "")
    for one in _chain(error):
        if (kind := _kind(one)) is not None:
            wrapped = "" if one is error else f" ({_last_line(one)})"
            return kind, f"{_last_line(error)}{wrapped}"[:MESSAGE_MAX], _TODO[kind]
    return "error", _last_line(error), _TODO["error"]


def _kind(error: BaseException) -> FailureKind | None:
    if isinstance(error, EngineFailure):
        return error.kind
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk-full"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out-of-memory"
    text = str(error).lower()
    return next((kind for kind, marks in _BY_TEXT if any(mark in text for mark in marks)), None)


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
