"""A machine with the GPUs that a test describes. A double replaces NVML's library; everything else is real.

`Daemon.before` installs the double in the process of `povwatch run`, replaces the diffusers engine and its text filters
with toys, and shortens the pauses. At each call the double reads the file that the variable NVML names, so a test can
change the machine while povwatch runs.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pynvml
from support.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.daemons import Daemon

GB = 10**9


def gpu(number: int = 0, **other: Any) -> dict[str, Any]:
    """One GPU, as the double reads it.

    `processes` are pairs of a process id and bytes. `worker` is the memory of each worker. `error` is the error code of
    every question about the GPU.
    """
    return {
        "uuid": f"GPU-{number}",
        "name": "NVIDIA Toy",
        "total": 140 * GB,
        "worker": 30 * GB,
        "power": 400.0,
        "processes": [],
        "error": None,
        **other,
    }


class Machine:
    """The file that the double reads."""

    def __init__(self, daemon: Daemon, *gpus: dict[str, Any]) -> None:
        self._file = daemon.folder / "nvml.json"
        self.state: dict[str, Any] = {"gpus": list(gpus) or [gpu()], "init": None, "hangs": False, "xids": []}
        self.state["host"] = 1000 * GB
        self.change()
        daemon.env |= {"NVML": str(self._file)}
        daemon.before = _begin

    def change(self, number: int = 0, **to: Any) -> None:
        """Change a GPU, the driver (`init`, `hangs`), the GPUs (`gpus`), or the memory of the host that is free."""
        for key, value in to.items():
            (self.state if key in self.state else self.state["gpus"][number])[key] = value
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(self.state))
        new.replace(self._file)

    def xid(self, code: int, number: int = 0) -> None:
        """Make the driver report an Xid error."""
        self.change(xids=[*self.state["xids"], [code, number]])


class OnGpus(Waiting):
    """A povwatch on such a machine."""

    def __init__(self, folder: Path, toy: str, *gpus: dict[str, Any], load: bool = True, **sections: Mapping[str, Any]):
        engine = {"kind": "diffusers", **sections.pop("engine", {})}
        super().__init__(folder, load=load, engine=engine, **sections)
        self.env |= {"TOY": f"{Path(__file__).parents[1] / 'engines' / toy}.py:Engine"}
        self.machine = Machine(self, *gpus)

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers that have the engine."""
        return list(_workers(self.pid))

    @property
    def filters(self) -> list[int]:
        """The process id of the worker that has the text filters on the CPU."""
        return [pid for pid in children(self.pid) if _gpus_seen(pid) == ""]


class Nvml:
    """The double of NVML. Its handles are the GPUs' numbers."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._told = 0

    def install(self) -> None:
        """Install the double."""
        for name in [name for name in dir(self) if name.startswith("nvml")]:
            setattr(pynvml, name, getattr(self, name))

    def nvmlInit(self) -> None:  # noqa: N802 - NVML's names, here and below
        state = self._state()
        while state["hangs"]:
            time.sleep(0.05)
            state = self._state()
        if state["init"]:
            raise pynvml.NVMLError(state["init"])

    def nvmlShutdown(self) -> None:  # noqa: N802
        return

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return "580.65.06"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:  # noqa: N802
        return 13_000

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self._state()["gpus"])

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        self._gpu(index)
        return index

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return str(self._gpu(handle)["uuid"])

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return str(self._gpu(handle)["name"])

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> list[int]:  # noqa: N802
        self._gpu(handle)
        return [9, 0]

    def nvmlDeviceGetPowerUsage(self, handle: int) -> float:  # noqa: N802
        return float(self._gpu(handle)["power"]) * 1000

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        total = self._gpu(handle)["total"]
        used = sum(process.usedGpuMemory or 0 for process in self.nvmlDeviceGetComputeRunningProcesses(handle))
        return SimpleNamespace(total=total, free=total - used)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        found = self._gpu(handle)
        of_ours = [(pid, found["worker"]) for pid in _workers(os.getpid()) if handle == _gpu_of(pid)]
        return [SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in [*of_ours, *found["processes"]]]

    def nvmlEventSetCreate(self) -> object:  # noqa: N802
        return object()

    def nvmlEventSetFree(self, _events: object) -> None:  # noqa: N802
        return

    def nvmlDeviceRegisterEvents(self, handle: int, _kind: int, _events: object) -> None:  # noqa: N802
        self._gpu(handle)

    def nvmlEventSetWait_v2(self, _events: object, milliseconds: int) -> SimpleNamespace:  # noqa: N802
        until = time.monotonic() + milliseconds / 1000
        while (xids := self._state()["xids"])[self._told :] == []:
            if time.monotonic() > until:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT)
            time.sleep(0.01)
        code, number = xids[self._told]
        self._told += 1
        return SimpleNamespace(eventData=code, device=number)

    def _state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file.read_text())
        return found

    def _gpu(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self._state()["gpus"][number]
        if found["error"]:
            raise pynvml.NVMLError(found["error"])
        return found


def _workers(daemon: int) -> Iterator[int]:
    """The workers that have the engine. The one with the text filters is told to see no GPU."""
    return (pid for pid in children(daemon) if _gpus_seen(pid) != "")


def children(daemon: int) -> Iterator[int]:
    """All workers of a daemon, also the one with the text filters."""
    for task in Path(f"/proc/{daemon}/task").glob("*/children"):
        for pid in task.read_text().split():
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:  # gone meanwhile
                continue
            if b"workers/worker.py" in command:
                yield int(pid)


def _gpus_seen(worker: int) -> str | None:
    """The GPUs that a worker may see, as CUDA is told; None if CUDA is told nothing."""
    try:
        told = Path(f"/proc/{worker}/environ").read_bytes().split(b"\0")
    except OSError:  # gone meanwhile
        return None
    found = [value.partition(b"=")[2] for value in told if value.startswith(b"CUDA_VISIBLE_DEVICES=")]
    return found[0].decode() if found else None


def _gpu_of(worker: int) -> int:
    """The number of the GPU that a worker may see; -1 if it is gone."""
    seen = _gpus_seen(worker)
    return int(seen.removeprefix("GPU-")) if seen else -1


def _begin() -> None:
    """Make `povwatch run` use the machine."""
    if sys.argv[1] != "run":
        return
    from povwatch.core import retry  # noqa: PLC0415 - not in the test's own process
    from povwatch.core.errors import EnvironmentFault  # noqa: PLC0415
    from povwatch.daemon import loop  # noqa: PLC0415
    from povwatch.engines import choice, text_filters  # noqa: PLC0415
    from povwatch.gpu import host_memory, monitor  # noqa: PLC0415
    from povwatch.gpu import nvml as gpu  # noqa: PLC0415

    Nvml(Path(os.environ["NVML"])).install()
    choice.ENGINES["diffusers"] = os.environ["TOY"]
    text_filters.ENGINES["diffusers"] = f"{Path(__file__).parents[1] / 'engines' / 'word_list.py'}:Engine"
    choice._PROBES["diffusers"] = lambda config, gpus: choice._gpu_problem("diffusers", config, gpus)
    for error, (waiting, pause) in retry._RELEASES.items():
        if issubclass(error, EnvironmentFault):
            retry._RELEASES[error] = (waiting, min(pause, 0.5))
    host_memory.available = lambda: json.loads(Path(os.environ["NVML"]).read_text())["host"]
    gpu.XID_WAIT = 50
    monitor.PATIENCE = 1.0
    loop.SAMPLE_EVERY = loop.IDLE_SAMPLE_EVERY = 0.1
