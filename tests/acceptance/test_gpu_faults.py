"""What clips wait for when a GPU is busy, fails, or goes away: every row of the fault table, in a whole povwatch."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pynvml
import pytest
from support.gpu_machine import GB, OnGpus, gpu
from support.waiting import left_over, newest, sound

from povwatch.journal import open_reader
from povwatch.ops.report.gather import gather

BUSY = [[os.getpid(), 120 * GB]]


def ended(daemon):
    assert daemon.stop() == 0
    assert left_over(daemon.folder) == []
    sound(daemon)


def history(daemon, clip, name):
    return [event["data"] for event in daemon.show(clip)["events"] if event["event"] == name]


def test_gpu_use_of_a_job_is_recorded(tmp_path):
    """Memory, power and energy of a job are in the journal, the manifest and the report."""
    with OnGpus(tmp_path / "pov", "waits") as here:
        here.start()
        here.clip()
        here.until(lambda: here.runs)
        time.sleep(0.5)  # for some samples
        here.let_go()
        here.wait_for("done")
        (generated,) = history(here, "a.mp4", "generated")
        used = generated["gpu"]
        assert (used["name"], used["uuid"], used["peak_memory"]) == ("NVIDIA Toy", "GPU-0", 30 * GB)
        assert (used["peak_power"], used["mean_power"]) == (400.0, 400.0)
        assert used["samples"] >= 3
        assert 0 < used["energy"] < 400 * 60
        manifest = json.loads((here.outputs / "a/a_preview.json").read_text())
        assert manifest["gpu"]["name"] == "NVIDIA Toy"
        assert manifest["gpu"]["peak_memory"] == 30 * GB
        assert manifest["gpu"]["energy"] == used["energy"]
        assert "NVIDIA Toy" in here.call("status").stdout
        ended(here)
        with open_reader(here.state) as reader:
            (line,) = gather(reader, time.time()).lines
        assert (line.gpu, line.gpu_seconds, line.energy) == ("NVIDIA Toy", line.seconds["generate"], used["energy"])
        assert line.peak_memory == 30 * GB


def test_busy_gpu_is_waited_for(tmp_path):
    """No engine is loaded on a GPU that another process fills; why names the process, and it goes on by itself."""
    with OnGpus(tmp_path / "pov", "waits", gpu(processes=BUSY)) as here:
        here.let_go()
        here.start()
        here.clip()
        busy = here.wait_for("engine-unavailable")
        assert f"(pid {os.getpid()}, 120 GB)" in busy["message"]
        assert "20 GB of 140 GB are free, and the engine needs 22 GB" in busy["message"]
        assert "Next try" in busy["message"]
        here.until(lambda: (job := newest(here)) and job.waiting_on == "gpu-busy")
        assert newest(here).attempts == 0
        assert here.workers == []
        assert str(os.getpid()) in here.call("why", "a.mp4").stdout
        here.machine.change(processes=[])
        here.wait_for("gpu-room")
        here.wait_for("done")
        assert len(here.events("engine-unavailable")) == 1, "the same is said once"
        ended(here)


def test_once_does_not_wait_for_a_busy_gpu(tmp_path):
    """--once ends with exit 3 and names the process that fills the GPU."""
    with OnGpus(tmp_path / "pov", "waits", gpu(processes=BUSY)) as here:
        here.clip()
        here.start("--once", watching=False)
        assert here.ended() == 3
        assert f"pid {os.getpid()}" in here.text()
        assert (newest(here).state, newest(here).attempts) == ("queued", 0)


def test_unknown_memory_holds_nobody(tmp_path):
    """A GPU whose memory and power NVML does not tell is used all the same."""
    with OnGpus(tmp_path / "pov", "waits", gpu(total=0, worker=0, power=0, processes=[[os.getpid(), None]])) as here:
        here.let_go()
        here.start()
        here.clip()
        here.wait_for("done")
        ended(here)


def test_out_of_memory_gets_one_fresh_worker(tmp_path):
    """A job that does not fit is tried once more in a fresh worker, and then fails."""
    with OnGpus(tmp_path / "pov", "oom_while", engine={"attempts": 5}) as here:
        here.env["TOY_OOM"] = str(here.inputs)
        here.start()
        here.clip()
        here.wait_for("failed")
        first, second = here.runs
        assert first != second
        assert all(use["seconds"] >= 0 for use in history(here, "a.mp4", "gpu-use"))
        assert newest(here).attempts == 2
        ended(here)


def test_out_of_memory_by_others_is_free(tmp_path):
    """A job that another process leaves no memory for is charged nothing, and its worker is replaced."""
    with OnGpus(tmp_path / "pov", "oom_while", engine={"attempts": 1}) as here:
        full = here.folder / "full"
        here.env["TOY_OOM"] = str(full)
        full.touch()
        here.start()
        here.wait_for("engine-ready")
        here.machine.change(processes=BUSY)
        here.clip()
        released = here.wait_for("released")
        assert "CUDA out of memory" in released["message"]
        assert f"(pid {os.getpid()}, 120 GB)" in released["message"]
        here.until(lambda: newest(here).waiting_on == "gpu-busy")
        assert newest(here).attempts == 0
        full.unlink()
        here.machine.change(processes=[])
        here.wait_for("done")
        first, *_, last = here.runs
        assert first != last, "what ran out of memory is replaced"
        assert newest(here).attempts == 1
        ended(here)


def test_others_excuse_a_clip_only_so_often(tmp_path):
    """A clip that never fits beside another process fails after three releases."""
    with OnGpus(tmp_path / "pov", "oom_while", engine={"attempts": 1}) as here:
        here.env["TOY_OOM"] = str(here.inputs)
        here.machine.change(processes=[[os.getpid(), 10 * GB]])  # the engine has room beside it, this clip has not
        here.start()
        here.clip()
        here.wait_for("failed")
        assert len(here.events("released")) == 3
        assert len(here.runs) == 4
        ended(here)


def test_program_fault_costs_an_attempt(tmp_path):
    """An Xid that a program causes costs the worker and an attempt, and is on record."""
    with OnGpus(tmp_path / "pov", "waits") as here:
        here.start()
        here.clip()
        here.wait_for("progress")  # what is lost before the job began is charged to nobody
        (worker,) = here.workers
        here.machine.xid(31)
        fault = here.wait_for("gpu-fault")
        assert "Xid 31: memory page fault" in fault["message"]
        assert "the attempt counts" in fault["message"]
        retry = here.wait_for("retry")
        assert "reported Xid 31" in retry["message"]
        assert newest(here).attempts == 1
        here.let_go()
        here.wait_for("done")
        assert here.workers != [worker]
        (noted,) = history(here, "a.mp4", "gpu-fault")
        assert (noted["xid"], noted["gpu"], noted["verdict"]) == (31, "GPU-0", "replace")
        ended(here)


def test_memory_fault_waits_for_a_reset(tmp_path):
    """An Xid of the GPU's memory charges nothing; a reset is waited for, and why names its command."""
    with OnGpus(tmp_path / "pov", "waits", engine={"attempts": 1}) as here:
        here.start()
        here.clip()
        here.wait_for("progress")  # what is lost before the job began is told in other words
        here.machine.xid(94)
        here.machine.change(error=pynvml.NVML_ERROR_RESET_REQUIRED)
        released = here.wait_for("released")
        assert "Xid 94" in released["message"] or "reset" in released["message"]
        here.until(lambda: newest(here).waiting_on == "gpu-lost")
        assert newest(here).attempts == 0
        assert "nvidia-smi --gpu-reset" in here.call("why", "a.mp4").stdout.replace("\n", " ").replace("  ", " ")
        assert here.workers == []
        here.let_go()
        here.machine.change(error=None)
        here.wait_for("done")
        ended(here)


def test_memory_fault_without_a_reset(tmp_path):
    """An Xid that needs no reset charges nothing and goes on with a fresh worker."""
    with OnGpus(tmp_path / "pov", "waits", engine={"attempts": 1}) as here:
        here.start()
        here.clip()
        here.until(lambda: here.runs)
        (worker,) = here.workers
        here.machine.xid(119)
        here.wait_for("released")
        here.let_go()
        here.wait_for("done")
        assert newest(here).attempts == 1
        assert here.workers != [worker]
        ended(here)


@pytest.mark.parametrize("xid", [79, None])
def test_lost_gpu_costs_nothing(tmp_path, xid):
    """A lost GPU charges nothing, clips are taken in meanwhile, and all run once it is back."""
    with OnGpus(tmp_path / "pov", "waits", engine={"attempts": 1}) as here:
        here.start()
        here.clip("a.mp4")
        here.until(lambda: here.runs)
        if xid:
            here.machine.xid(xid)
            here.wait_for("gpu-fault")
        here.machine.change(error=pynvml.NVML_ERROR_GPU_IS_LOST)
        here.wait_for("released")
        here.clip("b.mp4")
        for clip in (b"a.mp4", b"b.mp4"):
            here.until(lambda clip=clip: (job := newest(here, clip)) and job.waiting_on == "gpu-lost", clip)
            assert newest(here, clip).attempts == 0
        assert here.workers == []
        assert "off the bus" in here.call("status").stdout.replace("\n", " ")
        here.let_go()
        here.machine.change(error=None)
        here.wait_for("done", count=2)
        assert not list(here.inputs.glob("*.error.txt"))
        ended(here)


def test_prompts_checked_without_a_gpu(tmp_path):
    """A process that sees no GPU checks prompts while the only GPU is lost, and it ends with povwatch."""
    with OnGpus(tmp_path / "pov", "waits", grace={"period": "1h"}) as here:
        here.start()
        here.wait_for("engine-ready")
        here.machine.change(error=pynvml.NVML_ERROR_GPU_IS_LOST)
        here.until(lambda: here.workers == [])
        here.clip()
        here.wait_for("grace")
        spec, new = here.inputs / "a.json", here.inputs / ".new"
        new.write_text(json.dumps(json.loads(spec.read_text()) | {"prompt": "hands, and two weapons"}))
        new.rename(spec)
        here.wait_for("invalid-spec")
        assert "prompt is refused by the guardrail's Blocklist" in here.call("why", "a.mp4").stdout.replace("\n", " ")
        (checks,) = here.filters
        assert here.workers == []
        assert here.stop() == 0
        assert left_over(here.folder) == []
        assert not Path(f"/proc/{checks}").exists()


def test_lost_gpu_does_not_stop_the_other(tmp_path):
    """With two GPUs, a lost one does not pause the queue."""
    with OnGpus(tmp_path / "pov", "waits", gpu(0), gpu(1), engine={"attempts": 1}) as here:
        here.start()
        here.clip("a.mp4")
        here.clip("b.mp4")
        here.until(lambda: len(here.runs) == 2)
        here.machine.change(1, error=pynvml.NVML_ERROR_GPU_IS_LOST)
        here.wait_for("released")
        here.let_go()
        here.wait_for("done", count=2)
        assert here.events("queue-paused") == []
        assert len(here.workers) == 1
        ended(here)


def test_harmless_xid_is_noted(tmp_path):
    """An Xid that is only worth a note is logged and on record, and costs nothing."""
    with OnGpus(tmp_path / "pov", "waits") as here:
        here.start()
        here.clip()
        here.until(lambda: here.runs)
        here.machine.xid(63)
        here.wait_for("gpu-note")
        here.let_go()
        here.wait_for("done")
        (noted,) = history(here, "a.mp4", "gpu-note")
        assert (noted["xid"], newest(here).attempts) == (63, 1)
        ended(here)


def test_upgraded_driver_starts_nothing(tmp_path):
    """After an upgrade of the driver, what runs may end and nothing else starts."""
    with OnGpus(tmp_path / "pov", "waits") as here:
        here.start()
        here.clip("a.mp4")
        here.until(lambda: here.runs)
        here.machine.change(init=pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)
        away = here.wait_for("gpu-away")
        assert "upgraded while it was in use: reboot" in away["message"]
        here.clip("b.mp4")
        here.until(lambda: (job := newest(here, b"b.mp4")) and job.waiting_on == "gpu-lost")
        here.let_go()
        here.wait_for("done", clip="a.mp4")
        time.sleep(0.3)
        assert here.runs == [1]
        here.machine.change(init=None)
        here.wait_for("gpu-back")
        here.wait_for("done", clip="b.mp4")
        ended(here)


def test_hanging_driver_holds_nothing_up(tmp_path):
    """Requests and a stop are answered at once while NVML hangs, and nothing is charged."""
    with OnGpus(tmp_path / "pov", "waits") as here:
        here.start()
        here.clip("a.mp4")
        here.until(lambda: here.runs)
        here.machine.change(hangs=True)
        here.wait_for("gpu-away")
        here.clip("b.mp4")
        here.until(lambda: (job := newest(here, b"b.mp4")) and job.waiting_on == "gpu-lost")
        asked = time.monotonic()
        assert here.ask("cancel", "b.mp4").done
        assert time.monotonic() - asked < 3
        asked = time.monotonic()
        assert here.stop() == 0
        assert time.monotonic() - asked < 10
        assert newest(here, b"a.mp4").attempts == 0
