"""What NVML's answers and errors come out as. A double stands in for the library at the module's edge."""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace

import pynvml
import pytest

from povwatch.gpu import nvml as gpu

CODES = sorted(
    value
    for name, value in vars(pynvml).items()
    if name.startswith("NVML_ERROR_") and value != pynvml.NVML_ERROR_TIMEOUT
)
LOST = {
    pynvml.NVML_ERROR_GPU_IS_LOST,
    pynvml.NVML_ERROR_RESET_REQUIRED,
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
}
CANNOT_SAY = {pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND, pynvml.NVML_ERROR_NO_DATA}
UNIMPORTANT = ["GetName", "GetUUID", "GetPowerUsage", "GetComputeRunningProcesses"]
ANSWERS = [*UNIMPORTANT, "GetMemoryInfo", "GetHandleByIndex"]


class Nvml:
    """Two GPUs, and whatever errors a test puts in."""

    def __init__(self) -> None:
        self.errors: dict[tuple[str, int | None], int] = {}
        self.sessions = 0
        self.sets = 0
        self.events: queue.Queue[object] = queue.Queue()
        self.registered: list[int] = []
        self.waiting = threading.Event()

    def fail(self, call: str, code: int, gpu: int | None = None) -> None:
        self.errors[call, gpu] = code

    def answer(self, call: str, value: object, gpu: int | None = None) -> object:
        code = self.errors.get((call, gpu), self.errors.get((call, None)))
        if code is not None:
            raise pynvml.NVMLError(code)
        return value

    def install(self, monkeypatch) -> None:
        device = {
            "GetName": lambda n: f"NVIDIA H{n}",
            "GetUUID": lambda n: f"GPU-{n}",
            "GetPowerUsage": lambda _: 350_500,
            "GetComputeRunningProcesses": lambda _: [SimpleNamespace(pid=1, usedGpuMemory=None)],
            "GetMemoryInfo": lambda n: SimpleNamespace(total=140 * 10**9, free=(100 + n) * 10**9),
            "GetHandleByIndex": lambda n: n,
        }
        for call, value in device.items():
            monkeypatch.setattr(
                pynvml, f"nvmlDevice{call}", lambda n, call=call, value=value: self.answer(call, value(n), n)
            )
        monkeypatch.setattr(pynvml, "nvmlInit", self.begin)
        monkeypatch.setattr(pynvml, "nvmlShutdown", self.end)
        monkeypatch.setattr(pynvml, "nvmlSystemGetDriverVersion", lambda: self.answer("driver", "580.65.06"))
        monkeypatch.setattr(pynvml, "nvmlSystemGetCudaDriverVersion_v2", lambda: self.answer("cuda", 13_010))
        monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: self.answer("count", 2))
        monkeypatch.setattr(pynvml, "nvmlEventSetCreate", self.make_set)
        monkeypatch.setattr(pynvml, "nvmlEventSetFree", self.free_set)
        monkeypatch.setattr(pynvml, "nvmlDeviceRegisterEvents", self.register)
        monkeypatch.setattr(pynvml, "nvmlEventSetWait_v2", self.wait)

    def begin(self) -> None:
        self.answer("init", None)
        self.sessions += 1

    def end(self) -> None:
        self.sessions -= 1

    def make_set(self) -> object:
        self.answer("set", None)
        self.sets += 1
        return object()

    def free_set(self, _events: object) -> None:
        self.sets -= 1

    def register(self, handle: int, kind: int, _events: object) -> None:
        self.answer("register", None, handle)
        assert kind == pynvml.nvmlEventTypeXidCriticalError
        self.registered.append(handle)

    def wait(self, _events: object, milliseconds: int) -> object:
        self.waiting.set()
        try:
            event = self.events.get(timeout=milliseconds / 1000)
        except queue.Empty:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_TIMEOUT) from None
        if isinstance(event, int):
            raise pynvml.NVMLError(event)
        return event


@pytest.fixture
def nvml(monkeypatch):
    double = Nvml()
    double.install(monkeypatch)
    monkeypatch.setattr(gpu, "XID_WAIT", 20)
    yield double
    assert double.sessions == 0, "each nvmlInit has its nvmlShutdown"
    assert double.sets == 0


def test_what_is_there(nvml):
    """A look has the driver, and each GPU with its memory, power and processes."""
    seen = gpu.read_gpus()
    assert (seen.driver, seen.cuda, seen.problem, seen.lost) == ("580.65.06", "13.1", "", False)
    first, second = seen.found
    assert (first.index, first.uuid, first.name) == (0, "GPU-0", "NVIDIA H0")
    assert (first.memory, first.free, first.power) == (140 * 10**9, 100 * 10**9, 350.5)
    assert (second.uuid, second.free) == ("GPU-1", 101 * 10**9)
    (process,) = first.processes
    assert (process.pid, process.memory) == (1, None)
    assert process.name


@pytest.mark.parametrize("code", CODES)
def test_no_driver_is_an_answer(nvml, code):
    nvml.fail("init", code)
    seen = gpu.read_gpus()
    assert seen.found == ()
    assert seen.problem
    assert seen.lost is (code in LOST)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "no NVIDIA driver"),
        (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "modprobe"),
        (pynvml.NVML_ERROR_NO_PERMISSION, "groups video and render"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "upgraded while it was in use: reboot"),
        (pynvml.NVML_ERROR_GPU_IS_LOST, "off the bus"),
        (pynvml.NVML_ERROR_RESET_REQUIRED, "--gpu-reset"),
        (pynvml.NVML_ERROR_UNKNOWN, "NVML says"),
    ],
)
def test_problem_says_what_to_do(nvml, code, words):
    nvml.fail("init", code)
    assert words in gpu.read_gpus().problem


@pytest.mark.parametrize("call", ANSWERS)
@pytest.mark.parametrize("code", sorted(CANNOT_SAY))
def test_unknown_answer_drops_no_gpu(nvml, call, code):
    """What NVML cannot say is unknown, and drops no GPU."""
    nvml.fail(call, code, 0)
    seen = gpu.read_gpus()
    assert [found.index for found in seen.found] == [0, 1]
    assert (seen.problem, seen.lost) == ("", False)
    assert seen.found[1].name == "NVIDIA H1"


def test_what_stands_for_the_unknown(nvml):
    """Without a UUID a GPU goes by its index, without a name by a general one."""
    for call in ANSWERS:
        nvml.fail(call, pynvml.NVML_ERROR_NOT_SUPPORTED, 0)
    # The index still tells CUDA which GPU is meant; no UUID at all would hide every one.
    assert gpu.read_gpus().found[0] == gpu.Gpu(0, "0", "NVIDIA GPU", 0, 0)
    nvml.errors.clear()
    for call in ANSWERS[:-1]:
        nvml.fail(call, pynvml.NVML_ERROR_NOT_SUPPORTED, 1)
    assert gpu.read_gpus().found[1] == gpu.Gpu(1, "1", "NVIDIA GPU", 0, 0)


@pytest.mark.parametrize("call", UNIMPORTANT)
@pytest.mark.parametrize("code", sorted(set(CODES) - LOST))
def test_side_question_drops_no_gpu(nvml, call, code):
    """An error of a side question drops no GPU."""
    nvml.fail(call, code, 0)
    assert [found.index for found in gpu.read_gpus().found] == [0, 1]


@pytest.mark.parametrize("call", ["GetMemoryInfo", "GetHandleByIndex"])
@pytest.mark.parametrize("code", sorted(set(CODES) - CANNOT_SAY))
def test_failing_gpu_does_not_hide_others(nvml, call, code):
    """A GPU with an error of its own does not hide the others."""
    nvml.fail(call, code, 0)
    seen = gpu.read_gpus()
    assert [found.index for found in seen.found] == [1]
    assert seen.problem
    assert seen.lost is (code in LOST)


@pytest.mark.parametrize("call", ANSWERS)
@pytest.mark.parametrize("code", sorted(LOST))
def test_lost_gpu_by_any_question(nvml, call, code):
    """A lost GPU is lost, whichever question finds it."""
    nvml.fail(call, code, 1)
    seen = gpu.read_gpus()
    assert [found.index for found in seen.found] == [0]
    assert seen.lost


@pytest.mark.parametrize("code", CODES)
def test_replaced_driver_is_told_from_lost(nvml, code):
    """A driver that was replaced is told apart from a lost GPU."""
    nvml.fail("init", code)
    assert gpu.read_gpus().upgraded is (code == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)


def test_process_of_another_container():
    """A process of another container has its number for a name."""
    assert gpu._process(2**22 + 1, 5) == gpu.Process(2**22 + 1, f"process {2**22 + 1}", 5, visible=False)


def test_hidden_process_is_there(monkeypatch):
    """As under ProtectProc=invisible: a neighbour on the GPU counts, though its name is not to be seen."""
    monkeypatch.setattr(gpu.Path, "read_text", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError()))
    assert gpu._process(1, 5) == gpu.Process(1, "process 1", 5, visible=True)


def test_driver_without_a_version(nvml):
    """A driver that does not tell its version still shows its GPUs."""
    nvml.fail("driver", pynvml.NVML_ERROR_NOT_SUPPORTED)
    nvml.fail("cuda", pynvml.NVML_ERROR_NOT_SUPPORTED)
    seen = gpu.read_gpus()
    assert (seen.driver, seen.cuda, len(seen.found), seen.problem) == ("", "", 2, "")


def test_driver_without_a_gpu(nvml, monkeypatch):
    """A driver without a GPU is told as such."""
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: 0)
    assert gpu.read_gpus().problem == "the NVIDIA driver shows no GPU"


@pytest.fixture
def watch(nvml):
    heard: queue.Queue[gpu.Xid] = queue.Queue()
    watch = gpu.XidWatch(heard.put)
    watch.heard = heard
    yield watch
    watch.stop()  # it waits for twice XID_WAIT, which is short here for a busy machine
    for thread in [thread for thread in threading.enumerate() if thread.name == "xid"]:
        thread.join(30)
        assert not thread.is_alive()


def listen(nvml, watch):
    """Start the watch, and wait until it listens."""
    watch.start()
    assert nvml.waiting.wait(5)


def xid(code, device=0):
    return SimpleNamespace(eventData=code, device=device)


def test_xids_have_their_gpu(nvml, watch):
    """Xids are reported with their GPU."""
    assert not watch.alive
    listen(nvml, watch)
    assert watch.alive
    assert nvml.registered == [0, 1]
    nvml.events.put(xid(31, 1))
    nvml.events.put(xid(13, 0))
    assert watch.heard.get(timeout=5) == gpu.Xid(31, "GPU-1")
    assert watch.heard.get(timeout=5) == gpu.Xid(13, "GPU-0")


def test_xid_79_names_its_silent_gpu(nvml, watch):
    """Xid 79 names its GPU, though that answers no more."""
    listen(nvml, watch)
    nvml.fail("GetUUID", pynvml.NVML_ERROR_GPU_IS_LOST)
    nvml.events.put(xid(79, 1))
    assert watch.heard.get(timeout=5) == gpu.Xid(79, "GPU-1")


def test_nameless_gpu_reports_without_name(nvml, watch):
    """A GPU that never told its UUID reports without one."""
    nvml.fail("GetUUID", pynvml.NVML_ERROR_NOT_SUPPORTED)
    listen(nvml, watch)
    nvml.events.put(xid(79))
    assert watch.heard.get(timeout=5) == gpu.Xid(79, "")


def test_two_handles_of_one_gpu():
    """Two handles of one GPU are known for the same."""
    first, second = (pynvml.c_nvmlDevice_t.from_buffer(bytearray(at.to_bytes(8, "little"))) for at in (4096, 4096))
    assert first is not second
    assert gpu._key(first) == gpu._key(second) == 4096


def test_watch_goes_on_after_quiet_times(nvml, watch):
    listen(nvml, watch)
    nvml.events.put(pynvml.NVML_ERROR_TIMEOUT)
    nvml.events.put(xid(48))
    assert watch.heard.get(timeout=5).code == 48


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNKNOWN])
def test_watch_ends_with_the_driver(nvml, watch, code):
    """The watch ends with the driver, and frees what it holds."""
    listen(nvml, watch)
    nvml.events.put(code)
    watch._thread.join(5)
    assert not watch.alive
    assert (nvml.sessions, nvml.sets) == (0, 0)


def test_silent_gpu_does_not_silence_others(nvml, watch):
    """A GPU that reports nothing does not silence the others."""
    nvml.fail("register", pynvml.NVML_ERROR_NOT_SUPPORTED, 0)
    listen(nvml, watch)
    assert nvml.registered == [1]


@pytest.mark.parametrize("call", ["init", "set", "count", "register", "GetHandleByIndex"])
@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_LIBRARY_NOT_FOUND])
def test_no_reporting_gpu_no_watch(nvml, watch, call, code):
    """Without a GPU that reports there is no watch."""
    nvml.fail(call, code)
    watch.start()
    watch._thread.join(5)
    assert not watch.alive
