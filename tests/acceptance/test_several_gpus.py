"""A povwatch on several GPUs, from its start to a GPU that comes back and one that is new."""

from __future__ import annotations

import pynvml
from support.gpu_machine import GB, OnGpus, gpu
from support.waiting import left_over, newest, sound


def test_lost_gpu_of_several(tmp_path):
    """Loads take turns; a lost GPU costs its own job alone, and it and a new one are used."""
    with OnGpus(
        tmp_path / "pov", "waits", gpu(0), gpu(1), gpu(7, total=16 * GB), load=False, engine={"workers": 3}
    ) as here:
        here.machine.change(host=30 * GB)  # room for one load
        here.start()
        waits = here.wait_for("load-waits")
        assert "a load may take 25 GB, and 30 GB of the host's memory are free" in waits["message"]
        assert "asks for 3, and there are GPUs for 2" in here.wait_for("workers-fewer")["message"]
        here.until(lambda: len(here.workers) == 1)
        here.let_load()
        here.wait_for("engine-ready", count=2)
        first, second = (event["worker"] for event in here.events("engine-ready"))
        assert {first, second} == {1, 2}

        for name in "abc":
            here.clip(f"{name}.mp4")
        here.until(lambda: len(here.runs) == 2)
        running = {event["worker"]: event["clip"] for event in here.events("started")}
        (third,) = {b"a.mp4", b"b.mp4", b"c.mp4"} - {clip.encode() for clip in running.values()}
        here.until(lambda: (job := newest(here, third)) and job.waiting_on == "turn")
        said = here.until(lambda: (said := here.call("status").stdout).count("generates") == 2 and said)
        for number, clip in running.items():
            (line,) = [line for line in said.splitlines() if line.startswith(f"worker {number} on GPU {number - 1}")]
            assert f"(NVIDIA Toy, 30 GB of 140 GB in use): generates {clip} since" in line
        assert "GPU 2 NVIDIA Toy: no worker, 0 B of 16 GB in use" in said

        here.machine.change(1, error=pynvml.NVML_ERROR_GPU_IS_LOST)
        released = here.wait_for("released")
        assert released["clip"] == running[2]
        assert newest(here, running[2].encode()).attempts == 0
        away = here.wait_for("worker-unavailable")
        assert away["message"].startswith("worker 2 on GPU 1 is not available: ")
        assert "The others go on" in away["message"]
        assert here.events("queue-paused") == []

        here.machine.change(1, error=None)
        here.wait_for("engine-ready", count=3)
        here.machine.change(gpus=[*here.machine.state["gpus"], gpu(3)])
        assert "worker 3 on GPU 3 is started" in here.wait_for("worker-added")["message"]
        here.wait_for("engine-ready", count=4)
        here.until(lambda: len(here.runs) == 4)
        assert len(set(here.runs)) == 3, "one job began twice: that of the lost GPU"
        here.let_go()
        here.wait_for("done", count=3)
        history = here.show(running[1])["events"]
        assert [event["data"]["on"] for event in history if event["event"] == "started"] == ["GPU-0"]
        assert here.stop() == 0
        assert left_over(here.folder) == []
        sound(here)
