"""The GPUs, as NVML sees them. The only module that imports pynvml.

What NVML does not know (NOT_SUPPORTED, in virtual machines for one) is unknown, no failure.
Memory is in bytes, power in watts.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pynvml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

XID_WAIT = 1000
"""Milliseconds that one wait for an event takes at most; as long may the end of the watch take."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that holds memory of a GPU."""

    pid: int
    name: str
    memory: int | None
    """None where NVML does not say."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU at one moment."""

    index: int
    uuid: str
    name: str
    memory: int
    """In all."""
    free: int
    """What nobody uses."""
    power: float | None = None
    processes: tuple[Process, ...] = ()


@dataclass(frozen=True, slots=True)
class Gpus:
    """All of them, or why there are none."""

    found: tuple[Gpu, ...] = ()
    driver: str = ""
    problem: str = ""
    """Why NVML shows none, and what to do; empty if it does."""
    lost: bool = False
    """A GPU was there and does not answer any more; only a reboot or a reset brings it back."""


@dataclass(frozen=True, slots=True)
class Xid:
    """An error that the driver reported, by its number in NVIDIA's catalogue."""

    code: int
    gpu: str
    """The GPU's UUID."""


_TODO = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "there is no NVIDIA driver here",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded: sudo modprobe nvidia",
    pynvml.NVML_ERROR_NO_PERMISSION: "the GPU may not be used by this user: join the groups video and render",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was upgraded while it was in use: reboot",
    pynvml.NVML_ERROR_GPU_IS_LOST: "a GPU has fallen off the bus: reboot",
    pynvml.NVML_ERROR_RESET_REQUIRED: "a GPU asks for a reset: stop what uses it, then sudo nvidia-smi --gpu-reset",
}
"""NVML's error codes in words."""

_LOST = {
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED,
}


def look() -> Gpus:
    """What is there now. Never raises: no GPU is an answer, and one that is lost does not hide the others."""
    found: list[Gpu] = []
    problem, lost = "", False
    try:
        with _session():
            driver = str(pynvml.nvmlSystemGetDriverVersion())
            for index in range(pynvml.nvmlDeviceGetCount()):
                try:
                    found.append(_gpu(index))
                except pynvml.NVMLError as error:
                    problem, lost = _words(error), lost or error.value in _LOST
    except pynvml.NVMLError as error:
        return Gpus(problem=_words(error), lost=error.value in _LOST)
    return Gpus(tuple(found), driver, problem if found or problem else "the NVIDIA driver shows no GPU", lost)


class XidWatch:
    """Listens for the driver's errors in a thread of its own."""

    def __init__(self, report: Callable[[Xid], None]) -> None:
        self._report = report
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> bool:
        """Begin to listen; False where there is no driver, or one that does not report."""
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return False
        try:
            events = pynvml.nvmlEventSetCreate()
            for index in range(pynvml.nvmlDeviceGetCount()):
                handle = pynvml.nvmlDeviceGetHandleByIndex(index)
                pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
        except pynvml.NVMLError:
            pynvml.nvmlShutdown()
            return False
        self._thread = threading.Thread(target=self._listen, args=(events,), name="xid", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> None:
        """Listen no more."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(2 * XID_WAIT / 1000)

    def _listen(self, events: Any) -> None:  # noqa: ANN401 - NVML's handle
        while not self._over.is_set():
            try:
                event = pynvml.nvmlEventSetWait_v2(events, XID_WAIT)
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_TIMEOUT:
                    continue
                break  # the GPU or the driver is gone: `look` says so
            uuid = _maybe(lambda: str(pynvml.nvmlDeviceGetUUID(event.device))) or ""  # noqa: B023 - called at once
            self._report(Xid(int(event.eventData), uuid))
        with suppress(pynvml.NVMLError):
            pynvml.nvmlEventSetFree(events)
            pynvml.nvmlShutdown()


def _gpu(index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    power = _maybe(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000)
    running = _maybe(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) or []
    return Gpu(
        index=index,
        uuid=str(pynvml.nvmlDeviceGetUUID(handle)),
        name=str(pynvml.nvmlDeviceGetName(handle)),
        memory=int(memory.total),
        free=int(memory.free),
        power=power,
        processes=tuple(Process(p.pid, _name_of(p.pid), p.usedGpuMemory) for p in running),
    )


def _name_of(pid: int) -> str:
    """The command of a process; just its number where it cannot be seen (another container's, say)."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="backslashreplace").strip()
    except OSError:
        return f"process {pid}"


def _maybe(ask: Callable[[], T]) -> T | None:
    """What NVML answers; None where it does not know. A GPU that is lost is told by whoever asks for its memory."""
    try:
        return ask()
    except pynvml.NVMLError:
        return None


def _words(error: pynvml.NVMLError) -> str:
    return _TODO.get(error.value, f"NVML says: {error}")


@contextmanager
def _session() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()
