"""Reads the GPUs through NVML. The only module that imports pynvml.

Values that NVML does not know (NOT_SUPPORTED, in virtual machines for one) are unknown, not failures. Memory is in
bytes, power in watts.
"""

from __future__ import annotations

import ctypes
import os
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
"""Milliseconds of one wait for an event at most. The end of the watch may take as long."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that holds memory of a GPU."""

    pid: int
    name: str
    memory: int | None
    """None if NVML does not say."""
    visible: bool = True
    """Whether the process is visible here. NVML also lists processes of other containers."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU at one moment."""

    index: int
    uuid: str
    """The GPU's index if NVML does not give a UUID; CUDA takes either."""
    name: str
    memory: int
    """All memory; 0 if NVML does not say, as on machines whose GPU shares the main memory."""
    free: int
    """Unused memory; 0 if NVML does not say."""
    power: float | None = None
    processes: tuple[Process, ...] = ()
    capability: tuple[int, int] | None = None
    """CUDA's compute capability: (9, 0) is Hopper; None if NVML does not say."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """All GPUs, or why there are none."""

    found: tuple[Gpu, ...] = ()
    driver: str = ""
    cuda: str = ""
    """Newest CUDA version that the driver supports: "12.8"."""
    problem: str = ""
    """Why NVML shows no GPU, and what to do; empty if it shows some."""
    lost: bool = False
    """A GPU that was there does not answer any more. Only a reset or a reboot brings it back."""
    upgraded: bool = False
    """The driver was replaced while povwatch runs. Jobs under way may go on; nothing new can start before a reboot."""
    silent: bool = False
    """NVML was asked and did not answer in time."""


@dataclass(frozen=True, slots=True)
class Xid:
    """An error that the driver reported, by its number in NVIDIA's catalogue."""

    code: int
    gpu: str
    """The GPU's UUID; empty where it does not answer any more."""


_TODO = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "there is no NVIDIA driver here",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded: sudo modprobe nvidia",
    pynvml.NVML_ERROR_NO_PERMISSION: "the GPU may not be used by this user: join the groups video and render",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was upgraded while it was in use: reboot",
    pynvml.NVML_ERROR_GPU_IS_LOST: "a GPU has fallen off the bus: reboot",
    pynvml.NVML_ERROR_RESET_REQUIRED: "a GPU asks for a reset: stop what uses it, then sudo nvidia-smi --gpu-reset",
}
"""NVML's error codes in words."""

_UNKNOWN = {
    pynvml.NVML_ERROR_NOT_SUPPORTED,
    pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
    pynvml.NVML_ERROR_NO_DATA,
}
"""Codes that mean that the GPU is well, but it or its driver does not know the answer."""

_LOST = {
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED,
}


def read_gpus() -> Gpus:
    """Read all GPUs now. Never raises: no GPU is an answer, and a lost GPU does not hide the others."""
    found: list[Gpu] = []
    problem, lost = "", False
    try:
        with _session():
            driver = _maybe(lambda: str(pynvml.nvmlSystemGetDriverVersion())) or ""
            cuda = _maybe(_cuda) or ""
            for index in range(pynvml.nvmlDeviceGetCount()):
                try:
                    found.append(_gpu(index))
                except pynvml.NVMLError as error:
                    problem, lost = _words(error), lost or error.value in _LOST
    except pynvml.NVMLError as error:
        upgraded = error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
        return Gpus(problem=_words(error), lost=error.value in _LOST, upgraded=upgraded)
    return Gpus(tuple(found), driver, cuda, problem if found or problem else "the NVIDIA driver shows no GPU", lost)


class XidWatch:
    """Listens for the driver's errors in a thread of its own, since a lost GPU may never answer."""

    def __init__(self, report: Callable[[Xid], None]) -> None:
        self._report = report
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="xid", daemon=True)
        self._uuids: dict[Any, str] = {}
        """A GPU's handle to its UUID, read while the GPU still answered."""

    def start(self) -> None:
        """Start to listen. The thread ends by itself if there is no driver, or no GPU that reports."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread listens. It ends by itself when the GPU or the driver is gone."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Stop listening."""
        self._over.set()
        if self.alive:
            self._thread.join(2 * XID_WAIT / 1000)

    def _run(self) -> None:
        with suppress(pynvml.NVMLError), _session():
            events = pynvml.nvmlEventSetCreate()
            try:
                # One that cannot report, or is lost, does not silence the others.
                if [index for index in range(pynvml.nvmlDeviceGetCount()) if self._register(index, events)]:
                    self._listen(events)
            finally:
                pynvml.nvmlEventSetFree(events)

    def _listen(self, events: Any) -> None:  # noqa: ANN401 - NVML's handle
        while not self._over.is_set():
            try:
                event = pynvml.nvmlEventSetWait_v2(events, XID_WAIT)
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_TIMEOUT:
                    continue
                return  # the GPU or the driver is gone: `read_gpus` says so
            self._report(Xid(int(event.eventData), self._uuids.get(_key(event.device)) or _uuid(event.device)))

    def _register(self, index: int, events: Any) -> bool:  # noqa: ANN401 - NVML's handle
        """Listen to one GPU; False if it does not report."""
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            pynvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, events)
        except pynvml.NVMLError:
            return False
        self._uuids[_key(handle)] = _uuid(handle)
        return True


def _cuda() -> str:
    version = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())  # 12080 is 12.8
    return f"{version // 1000}.{version % 1000 // 10}"


def _capability(handle: Any) -> tuple[int, int]:  # noqa: ANN401 - NVML's handle
    major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
    return int(major), int(minor)


def _gpu(index: int) -> Gpu:
    handle = _known(lambda: pynvml.nvmlDeviceGetHandleByIndex(index))
    if handle is None:
        return Gpu(index, str(index), "NVIDIA GPU", 0, 0)
    memory = _known(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
    power = _maybe(lambda: pynvml.nvmlDeviceGetPowerUsage(handle) / 1000)
    running = _maybe(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle)) or []
    return Gpu(
        index=index,
        uuid=_maybe(lambda: str(pynvml.nvmlDeviceGetUUID(handle))) or str(index),
        name=_maybe(lambda: str(pynvml.nvmlDeviceGetName(handle))) or "NVIDIA GPU",
        memory=int(memory.total) if memory else 0,
        free=int(memory.free) if memory else 0,
        power=power,
        processes=tuple(_process(p.pid, p.usedGpuMemory) for p in running),
        capability=_maybe(lambda: _capability(handle)),
    )


def _key(handle: Any) -> Any:  # noqa: ANN401 - NVML's handle
    """A key that is equal for two handles of one GPU: NVML gives out a new pointer object each time."""
    if isinstance(handle, ctypes._Pointer):  # noqa: SLF001 - the only name of that class
        return ctypes.cast(handle, ctypes.c_void_p).value
    return handle


def _process(pid: int, memory: int | None) -> Process:
    """A process with its command's name; just its number if that is hidden (ProtectProc=) or in another container."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(errors="backslashreplace").strip()
    except OSError:
        return Process(pid, f"process {pid}", memory, visible=_exists(pid))
    return Process(pid, "".join(c if c.isprintable() else "?" for c in name), memory)


def _exists(pid: int) -> bool:
    """Whether a process exists, even one that /proc does not show to us."""
    try:
        os.getsid(pid)
    except OSError:
        return False
    return True


def _uuid(handle: Any) -> str:  # noqa: ANN401 - NVML's handle
    try:
        return str(pynvml.nvmlDeviceGetUUID(handle))
    except pynvml.NVMLError:  # the GPU is lost; the Xid says so next
        return ""


def _known(ask: Callable[[], T]) -> T | None:
    """NVML's answer; None if it cannot know. All other errors are the GPU's own."""
    try:
        return ask()
    except pynvml.NVMLError as error:
        if error.value not in _UNKNOWN:
            raise
        return None


def _maybe(ask: Callable[[], T]) -> T | None:
    """NVML's answer to a question that nothing depends on; None for any error but a lost GPU."""
    try:
        return ask()
    except pynvml.NVMLError as error:
        if error.value in _LOST:
            raise
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
