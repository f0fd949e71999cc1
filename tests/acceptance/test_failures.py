"""Whatever an engine does wrong: the clip ends with words that help, and the next clip comes out."""

from __future__ import annotations

import json
import time

import pytest
from support.daemons import ENGINES, Daemon, toy
from support.waiting import Waiting, left_over, newest, sound


def failing(tmp_path, name, *, attempts=1, **engine):
    return Daemon(tmp_path / "pov", engine={"kind": toy(name), "attempts": attempts, **engine})


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("killed_in_generate", "was killed by SIGKILL"),
        ("exits", "sys.exit(1)"),
        ("truncated_artifact", "The engine's artifact cannot be used"),
        ("leaves_children", "exited with status 9"),
    ],
)
def test_engine_failure_is_told_by_the_clip(tmp_path, name, says):
    """A failure of the engine is told in the error file, publishes nothing and leaves no process."""
    here = failing(tmp_path, name)
    here.clip()
    done = here.once()
    assert done.returncode == 1, done.stderr
    job = here.peek("a.mp4")
    assert (job["state"], job["attempts"]) == ("failed", 1)
    assert says in job["error"]
    note = (here.inputs / "a.error.txt").read_text()
    assert says in note
    assert "a.mp4 failed" in note
    assert "1 not done" in done.stderr
    assert here.published() == []
    assert "Traceback" not in "".join(line for line in done.stderr.splitlines() if not line.startswith("{"))
    assert left_over(here.folder) == []
    sound(here)


def test_attempts_have_a_pause_between(tmp_path):
    """A failed attempt is repeated after a pause, as often as engine.attempts says."""
    here = failing(tmp_path, "killed_in_generate", attempts=2)
    here.clip()
    with here:
        here.start()
        retry = here.wait_for("retry")
        assert retry["message"].startswith("a.mp4: attempt 1 failed: The worker was killed by SIGKILL")
        waiting = newest(here)
        assert (waiting.state, waiting.waiting_on, waiting.attempts) == ("queued", "retry-at", 1)
        assert 0 < waiting.not_before - time.time() <= 2
        here.wait_for("failed")
        here.stop()
    assert here.peek("a.mp4")["attempts"] == 2
    assert len(here.events("started")) == 2


def test_out_of_memory_twice_is_given_up(tmp_path):
    """A clip that runs out of GPU memory twice fails, whatever engine.attempts says, with advice."""
    here = failing(tmp_path, "oom", attempts=5)
    here.clip()
    assert here.once().returncode == 1
    assert here.peek("a.mp4")["attempts"] == 2
    assert "CUDA out of memory" in here.peek("a.mp4")["error"]
    assert "lower resolution" in (here.inputs / "a.error.txt").read_text()


def test_guardrail_refusal_is_final(tmp_path):
    """A clip that the guardrail refuses is blocked at its first attempt, with the reason and advice."""
    here = failing(tmp_path, "blocked", attempts=3)
    here.clip()
    assert here.once().returncode == 1
    job = here.peek("a.mp4")
    assert (job["state"], job["attempts"]) == ("blocked", 1)
    note = (here.inputs / "a.error.txt").read_text()
    assert "The prompt is not allowed." in note
    assert "Change the prompt or the clip." in note


def test_second_attempt_finds_kept_chunks(tmp_path):
    """A second attempt finds what the first one kept, and leaves no error file."""
    here = failing(tmp_path, "fails_once", attempts=2)
    here.clip()
    assert here.once().returncode == 0
    assert here.peek("a.mp4")["attempts"] == 2
    assert not (here.inputs / "a.error.txt").exists()
    sound(here)


def test_stall_is_a_failed_attempt(tmp_path):
    """An engine that makes no progress within stall_timeout fails, and the step it was in is named."""
    here = failing(tmp_path, "hangs", stall_timeout="1s")
    here.clip()
    done = here.once()
    assert done.returncode == 1
    assert "made no progress for 1 s ('denoise', step 7 of 35, chunk 1 of 3)" in here.peek("a.mp4")["error"]
    assert left_over(here.folder) == []


def test_poisonous_clip_delays_nobody(tmp_path):
    """Other clips come out while a clip that kills its worker waits for its next attempt."""
    with failing(tmp_path, "poison", attempts=2) as here:
        here.clip("a.mp4")
        text = {"name": "a", "video_path": "a.mp4", "prompt": "hands", "seed": 666, "edge": {}}
        (here.inputs / "a.json").write_text(json.dumps(text))
        here.start()
        here.wait_for("retry")
        here.clip("b.mp4")
        here.wait_for("done", clip="b.mp4")
        here.wait_for("failed", clip="a.mp4")
        here.clip("c.mp4")
        here.wait_for("done", clip="c.mp4")
        here.stop()
        sound(here)


@pytest.mark.parametrize(
    ("name", "waiting", "says"),
    [("disk_full", "disk-full", "No space left on device"), ("gpu_lost", "gpu-lost", "GPU 0 does not answer.")],
)
def test_machine_fault_pauses_the_queue(tmp_path, name, waiting, says):
    """A full disk or a lost GPU pauses the whole queue and charges no clip an attempt."""
    with failing(tmp_path, name) as here:
        here.clip("a.mp4")
        here.clip("b.mp4")
        here.start()
        here.wait_for("released")
        paused = here.wait_for("queue-paused")
        assert says in paused["message"]
        for clip in (b"a.mp4", b"b.mp4"):
            here.until(lambda clip=clip: newest(here, clip).waiting_on == waiting, clip)
            assert (newest(here, clip).state, newest(here, clip).attempts) == ("queued", 0)
        assert len(here.events("started")) == 1
        assert here.stop() == 0
        assert not list(here.inputs.glob("*.error.txt"))
        sound(here)


@pytest.mark.parametrize(("name", "says"), [("disk_full", "No space left"), ("gpu_lost", "does not answer")])
def test_once_ends_on_a_machine_fault(tmp_path, name, says):
    """--once does not wait for a machine that is not able: exit 3, with the reason in the last line."""
    here = failing(tmp_path, name)
    here.clip()
    done = here.once()
    assert done.returncode == 3, done.stderr
    assert says in done.stderr.splitlines()[-1]
    assert here.peek("a.mp4")["state"] == "queued"


def test_once_with_an_unloadable_engine(tmp_path):
    """--once ends with exit 3 and the reason if the engine cannot be loaded, and charges nothing."""
    here = failing(tmp_path, "exc_in_load")
    here.clip()
    done = here.once()
    assert done.returncode == 3, done.stderr
    assert "model.safetensors" in done.stderr.splitlines()[-1]
    job = here.peek("a.mp4")
    assert (job["state"], job["waiting_on"], job["attempts"]) == ("queued", "engine-unavailable", 0)


def test_gpu_lost_while_loading(tmp_path):
    """A GPU that is lost while the engine loads is the machine's fault: nothing is charged."""
    here = failing(tmp_path, "copies")
    engine = here.folder / "engine.py"
    engine.write_text(
        "from povwatch.engines.port import EngineFailure\n"
        "class Engine:\n"
        "    def load(self, config, report):\n"
        "        raise EngineFailure('gpu-lost', 'GPU 0 does not answer.')\n"
    )
    here.configure(engine={"kind": f"{engine}:Engine", "attempts": 1})
    here.clip()
    done = here.once()
    assert done.returncode == 3, done.stderr
    assert newest(here).waiting_on == "gpu-lost"
    assert "GPU 0 does not answer." in done.stderr.splitlines()[-1]


def test_two_workers_run_two_clips(tmp_path):
    """Two workers run two clips at a time, never three."""
    with Waiting(tmp_path / "pov", engine={"kind": toy("waits"), "workers": 2}) as here:
        here.clip("a.mp4")
        here.clip("b.mp4")
        here.clip("c.mp4")
        here.start()
        here.until(lambda: len(here.runs) == 2)
        states = ["queued", "running", "running"]
        here.until(lambda: sorted(newest(here, clip).state for clip in (b"a.mp4", b"b.mp4", b"c.mp4")) == states)
        assert len(here.runs) == 2
        here.let_go()
        here.wait_for("done", count=3)
        assert here.stop() == 0
        assert left_over(here.folder) == []
        sound(here)


def test_mended_engine_goes_on(tmp_path):
    """Clips wait for an engine that cannot be imported, and run once it is mended, without a restart."""
    with Waiting(tmp_path / "pov") as here:
        engine = here.folder / "engine.py"
        engine.write_text("raise ImportError('no flash_attn')")
        here.configure(engine={"kind": f"{engine}:Engine"})
        here.let_go()
        here.start()
        here.clip()
        unavailable = here.wait_for("engine-unavailable")
        assert "no flash_attn" in unavailable["message"]
        here.until(lambda: (job := newest(here)) and job.waiting_on == "engine-unavailable")
        assert "no flash_attn" in here.call("why", "a.mp4").stdout
        assert "no flash_attn" in here.call("status").stdout
        engine.write_text((ENGINES / "waits.py").read_text())
        here.wait_for("done")
        assert here.stop() == 0
