"""The GPUs, as NVML sees them. The only module that imports pynvml.

What NVML does not know (NOT_SUPPORTED) is unknown, no failure. Figures are bytes.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pynvml

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU at one moment."""

    index: int
    uuid: str
    name: str
    memory: int
    """Bytes in all."""
    free: int
    """Bytes that nobody uses."""


@dataclass(frozen=True, slots=True)
class Gpus:
    """All of them, or why there are none."""

    found: tuple[Gpu, ...] = ()
    driver: str = ""
    problem: str = ""
    """Why NVML shows none, and what to do; empty if it does."""


_TODO = {
    pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "there is no NVIDIA driver here",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded: sudo modprobe nvidia",
    pynvml.NVML_ERROR_NO_PERMISSION: "the GPU may not be used by this user: join the groups video and render",
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was upgraded while it was in use: reboot",
    pynvml.NVML_ERROR_GPU_IS_LOST: "a GPU has fallen off the bus: reboot",
}
"""NVML's error codes in words."""


def look() -> Gpus:
    """What is there now. Never raises: no GPU is an answer."""
    try:
        with _session():
            driver = str(pynvml.nvmlSystemGetDriverVersion())
            found = tuple(_gpu(index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError as error:
        return Gpus(problem=_TODO.get(error.value, f"NVML says: {error}"))
    return Gpus(found, driver, "" if found else "the NVIDIA driver shows no GPU")


def _gpu(index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
    name, uuid = pynvml.nvmlDeviceGetName(handle), pynvml.nvmlDeviceGetUUID(handle)
    return Gpu(index, str(uuid), str(name), int(memory.total), int(memory.free))


@contextmanager
def _session() -> Iterator[None]:
    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()
