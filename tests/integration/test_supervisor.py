import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from functools import cache
from pathlib import Path

import pytest
from support.supervising import ENGINES, Loop, request

import povwatch
from povwatch.core import errors
from povwatch.process import protocol
from povwatch.workers import events
from povwatch.workers.states import SupervisorState

S = SupervisorState
CLIP = b"not really a film, but an engine of the tests does not look"


@pytest.fixture
def job(tmp_path):
    """Makes requests: each with a work folder of its own, all with one checkpoint folder."""
    (tmp_path / "clip.mp4").write_bytes(CLIP)
    (tmp_path / "checkpoints").mkdir()

    def make(run_id="r1"):
        workdir = tmp_path / f"work {run_id} \udcff"
        workdir.mkdir()
        checkpoints = tmp_path / "checkpoints"
        return request(run_id, 1, workdir, checkpoints, video=str(tmp_path / "clip.mp4"), frames=3)

    return make


def alive(pid):
    """Whether the process is there and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pid, within=5.0):
    end = time.monotonic() + within
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


@cache
def oldest_python():
    """A Python 3.10, the oldest that a worker runs under."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates = ["python3.10", "/usr/bin/python3.10", *sorted(map(str, root.glob("versions/3.10.*/bin/python3.10")))]
    return next(filter(runs, candidates), None) or pytest.skip("no Python 3.10 here")


@cache
def system_python():
    """An interpreter that has none of our packages."""
    return "/usr/bin/python3" if runs("/usr/bin/python3") else pytest.skip("no /usr/bin/python3 here")


def runs(python):
    try:
        return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


PYTHONS = {"ours": lambda: sys.executable, "the system's": system_python, "3.10": oldest_python}


@pytest.mark.parametrize("python", PYTHONS)
def test_one_process_does_all_jobs(job, python):
    """One process does one job after the other, under every supported Python."""
    with Loop("copies", python=PYTHONS[python](), config={"preset": "low"}) as loop:
        loop.ready()
        assert loop.supervisor.capabilities["preset"] == "low"
        pids = set()
        for run_id in ("r1", "r2"):
            loop.forget()
            loop.supervisor.generate(job(run_id))
            done = loop.until(protocol.Generated)
            assert (done.job_id, done.run_id, done.artifact["frames"]) == (1, run_id, 3)
            assert Path(done.artifact["path"]).read_bytes() == CLIP
            assert [told.step for told in loop.of(protocol.Progress)] == [0, 1]
            pids.add(done.artifact["pid"])
        assert pids == {loop.supervisor.pid}


@pytest.mark.parametrize("python", ["the system's", "3.10"])
def test_worker_sees_nothing_of_ours(monkeypatch, python):
    """A worker sees nothing of the daemon but the package, and neither systemd's nor Python's variables."""
    python = PYTHONS[python]()
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "PYTHONPATH", "PYTHONHOME"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("HF_HOME", "/kept")
    with Loop("shadows", python=python, env={"HF_HUB_OFFLINE": "1"}) as loop:
        seen = loop.ready().supervisor.capabilities
    assert seen["ours"] == []
    assert seen["found"] == []
    assert seen["povwatch"] == povwatch.__file__
    environment = seen["environment"]
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "PYTHONPATH"} & environment.keys()
    assert (environment["HF_HOME"], environment["HF_HUB_OFFLINE"]) == ("/kept", "1")


def test_killed_in_generate(job):
    """The death of the worker is told with the job, and another worker comes."""
    with Loop("killed_in_generate") as loop:
        first = loop.ready().supervisor.pid
        loop.supervisor.generate(job())
        lost = loop.until(events.WorkerLost)
        assert (lost.job_id, lost.run_id, type(lost.error)) == (1, "r1", errors.WorkerDied)
        assert "killed by SIGKILL (often the kernel's out-of-memory killer" in lost.error.what
        assert not Path(f"/proc/{first}").exists()  # reaped: not even a zombie
        loop.until_state(S.READY)
        assert loop.supervisor.pid != first


def test_crash_traceback_is_in_the_log(job):
    """A crash in a library leaves its traceback in the log."""
    with Loop("crashes") as loop:
        loop.ready().supervisor.generate(job())
        assert "killed by SIGSEGV" in loop.until(events.WorkerLost).error.what
        printed = [told.line for told in loop.of(events.EngineOutput)]
        assert "about to read address zero" in printed
        assert any("Fatal Python error: Segmentation fault" in line for line in printed)


def test_hang_is_a_stall(job):
    """An engine that hangs is stalled: the step is told, the stack is logged, the worker ends."""
    with Loop("hangs", stall=0.4) as loop:
        pid = loop.ready().supervisor.pid
        loop.supervisor.generate(job())
        lost = loop.until(events.WorkerLost)
        assert (lost.run_id, type(lost.error)) == ("r1", errors.WorkerStalled)
        assert "'denoise', step 7 of 35, chunk 1 of 3" in lost.error.what
        printed = [told.line for told in loop.of(events.EngineOutput)]
        assert any("hangs.py" in line and "in generate" in line for line in printed)  # where it hung
        assert not alive(pid)


def test_hang_is_killed_when_cancelled(job):
    """A job whose engine hangs is cancelled by killing the worker."""
    with Loop("hangs", cancel=0.3) as loop:
        loop.ready().supervisor.generate(job())
        loop.until(protocol.Progress)
        loop.supervisor.cancel("r1", "deleted")
        assert loop.until(events.JobCancelled).why == "deleted"


def test_hang_is_stopped_and_released(job):
    """A stop ends an engine that hangs soon, and its job is handed back."""
    with Loop("hangs", stop=0.3) as loop:
        pid = loop.ready().supervisor.pid
        loop.supervisor.generate(job())
        loop.until(protocol.Progress)
        began = time.monotonic()
        loop.supervisor.stop("the daemon ends")
        loop.until_state(S.STOPPED)
        assert time.monotonic() - began < 3
        assert [(told.run_id, told.why) for told in loop.of(events.JobCancelled)] == [("r1", "the daemon ends")]
        assert not alive(pid)


def test_hang_in_load():
    """An engine that is not loaded in time is unavailable, and the stage is told."""
    with Loop("hangs_in_load", load=0.6) as loop:
        loop.start()
        told = loop.until(events.EngineUnavailable)
        assert "not loaded within 0.6 s (stage 'reading weights')" in told.message
        assert loop.supervisor.state is S.BACKOFF


def test_exception_in_load():
    """An exception in load makes the engine unavailable, is told, and loading is tried again."""
    with Loop("exc_in_load") as loop:
        loop.start()
        told = loop.until(events.EngineUnavailable)
        assert told.message == "FileNotFoundError: [Errno 2] No such file or directory: 'model.safetensors'"
        assert any("Traceback" in line.line for line in loop.of(events.EngineOutput))
        loop.until_state(S.LOADING)  # it is tried again


@pytest.mark.parametrize(
    ("engine", "says"),
    [
        ("exits_in_load", "The engine called sys.exit(4)."),
        ("no_such_file", "no_such_file.py"),
        (f"{ENGINES}/copies.py:Nothing", "has no Nothing"),
        ("no.such.module:Engine", "No module named 'no'"),
        (":", "is not of the form"),
    ],
)
def test_what_is_no_engine_is_told(engine, says):
    """What is no engine is told in words."""
    with Loop(engine) as loop:
        loop.start()
        assert says in loop.until(events.EngineUnavailable).message


def test_unusable_interpreter_is_told(tmp_path):
    """An interpreter that cannot be started, or fails, is told by its path."""
    for python in (tmp_path / "missing", tmp_path):
        with Loop("copies", python=str(python)) as loop:
            loop.start()
            assert f"engine.python '{python}' cannot be started" in loop.until(events.EngineUnavailable).message
    with Loop("copies", python="/bin/false") as loop:
        loop.start()
        assert "exited with status 1" in loop.until(events.EngineUnavailable).message


def test_prints_to_stdout(job):
    """What an engine prints is logged line by line, and does not disturb the protocol."""
    with Loop("prints_to_stdout") as loop:
        assert loop.ready().supervisor.capabilities == {"name": "prints_to_stdout"}
        loop.supervisor.generate(job())
        assert loop.until(protocol.Generated).artifact["path"].endswith("out.mp4")
        loop.supervisor.stop("enough")
        loop.until_state(S.STOPPED)
        printed = [told.line for told in loop.of(events.EngineOutput)]
    assert printed[:5] == ['{"type": "loaded", "seq": 1, "capabilities": {}}', "no newline yet", "from C", "10%", "20%"]
    assert "a name \\udcff that is no UTF-8 \x1b[31m" in printed
    assert "from a program" in printed


def test_flood_of_output_is_cut():
    """A flood of output is cut, and the lines that are left out are counted."""
    with Loop("floods") as loop:
        loop.start()
        time.sleep(0.5)  # nobody reads
        loop.until(events.EngineLoaded)
        loop.supervisor.stop("enough")
        loop.until_state(S.STOPPED)
        printed = [told.line for told in loop.of(events.EngineOutput)]
    assert len(printed) < 200_000
    assert any("lines left out) " in line for line in printed)
    assert max(map(len, printed)) < 5000


def test_slow_load_tells_how_far_it_is():
    with Loop("slow_load") as loop:
        loop.start()
        seen = set()
        while loop.supervisor.state is S.LOADING:
            loop.woken.wait(0.5)
            loop.woken.clear()
            loop.poll()
            seen.add(loop.supervisor.loading)
        assert {("weights", 0.2), ("weights", 0.4), ("weights", 0.6)} <= seen
        assert loop.of(events.EngineLoaded)[0].seconds > 0.4


@pytest.mark.parametrize(
    ("engine", "kind", "error", "says"),
    [
        ("oom", "out-of-memory", errors.OutOfMemory, "decoding failed"),
        ("sticky", "sticky", errors.AttemptFailed, "illegal memory access"),
        ("gpu_lost", "gpu-lost", errors.GpuLost, "GPU 0 does not answer."),
    ],
)
def test_spoilt_worker_is_replaced(job, engine, kind, error, says):
    """A worker whose GPU memory or state is spoilt is replaced after its job failed."""
    with Loop(engine) as loop:
        first = loop.ready().supervisor.pid
        loop.supervisor.generate(job())
        failed = loop.until(events.JobFailed)
        assert (failed.run_id, failed.failure_kind, type(failed.error)) == ("r1", kind, error)
        assert says in failed.error.what
        loop.until_state(S.READY)
        assert loop.supervisor.pid != first
        assert not alive(first)
        assert loop.of(events.WorkerLost) == []


@pytest.mark.parametrize(
    ("engine", "error", "says"),
    [
        ("exits", errors.AttemptFailed, "sys.exit(1)"),
        ("disk_full", errors.DiskFull, "No space left on device"),
        ("artifact_elsewhere", errors.AttemptFailed, "is not inside its work folder"),
        ("artifact_no_json", errors.AttemptFailed, "not JSON serializable"),
    ],
)
def test_failed_job_keeps_its_worker(job, engine, error, says):
    """A job that fails for another reason leaves the worker as it is."""
    with Loop(engine) as loop:
        first = loop.ready().supervisor.pid
        for run_id in ("r1", "r2"):
            loop.forget()
            loop.supervisor.generate(job(run_id))
            failed = loop.until(events.JobFailed)
            assert (failed.run_id, type(failed.error)) == (run_id, error)
            assert says in failed.error.what
        assert loop.supervisor.pid == first


def test_blocked(job):
    """A refusal of the guardrail is told with its reason, and the worker stays ready."""
    with Loop("blocked") as loop:
        loop.ready().supervisor.generate(job())
        blocked = loop.until(events.JobFailed)
        assert (blocked.run_id, type(blocked.error)) == ("r1", errors.Blocked)
        assert blocked.error.what == "The prompt is not allowed."
        assert loop.supervisor.state is S.READY


def test_engine_without_filters_is_asked(job):
    """An engine that cannot check prompts says so, and does the next job."""
    with Loop("copies") as loop:
        answer = loop.ready().checked("a kitchen")
        assert (answer.number, answer.verdicts, answer.kind) == (1, [], "error")
        assert "check_prompts" in answer.problem
        loop.supervisor.generate(job())
        assert loop.until(protocol.Generated).run_id == "r1"


def test_truncated_artifact_is_handed_on(job):
    """A truncated artifact is handed on as it is: the check has to find it."""
    with Loop("truncated_artifact") as loop:
        loop.ready().supervisor.generate(job())
        assert Path(loop.until(protocol.Generated).artifact["path"]).read_bytes() == CLIP[: len(CLIP) // 2]


@pytest.mark.parametrize("engine", ["no_heartbeat", "locks_the_interpreter"])
def test_no_heartbeat(job, engine):
    """A worker that says nothing for as long as the heartbeat allows is stalled and ended."""
    with Loop(engine, heartbeat=1.5) as loop:
        pid = loop.ready().supervisor.pid
        loop.supervisor.generate(job())
        lost = loop.until(events.WorkerLost)
        assert (lost.run_id, type(lost.error)) == ("r1", errors.WorkerStalled)
        assert "said nothing for 1.5 s" in lost.error.what
        assert not alive(pid)


def test_busy_worker_beats(job):
    """A worker that computes for longer than the heartbeat allows still beats."""
    with Loop("slow", config={"step": 2.2, "steps": 1}, heartbeat=1.6) as loop:
        loop.ready().supervisor.generate(job())
        loop.until(protocol.Generated)
        assert loop.of(events.WorkerLost) == []


def test_second_attempt_finds_its_checkpoint(job):
    with Loop("fails_once") as loop:
        loop.ready().supervisor.generate(job("r1"))
        assert loop.until(events.JobFailed).error.what == "RuntimeError: the first time"
        loop.supervisor.generate(job("r2"))
        assert loop.until(protocol.Generated).run_id == "r2"


def test_cancelled_worker_takes_the_next_job(job):
    """After a cancellation the same worker takes the next job."""
    with Loop("slow", config={"step": 0.02, "steps": 500}) as loop:
        pid = loop.ready().supervisor.pid
        for run_id in ("r1", "r2"):
            loop.forget()
            loop.supervisor.generate(job(run_id))
            loop.until(protocol.Progress)
            loop.supervisor.cancel(run_id, "deleted")
            assert loop.until(events.JobCancelled).run_id == run_id
        assert (loop.supervisor.state, loop.supervisor.pid) == (S.READY, pid)


def test_job_cancelled_at_once(job):
    """A job that is cancelled before it began is not done."""
    with Loop("slow", config={"step": 0.02, "steps": 500}) as loop:
        loop.ready().supervisor.generate(job())
        loop.supervisor.cancel("r1", "deleted")
        assert loop.until(events.JobCancelled, within=3).run_id == "r1"


def test_stop_lets_the_engine_finish_a_step(job):
    """An engine that listens lets go at a stop, and the worker exits with 0."""
    with Loop("slow", config={"step": 0.02, "steps": 500}) as loop:
        loop.ready().supervisor.generate(job())
        loop.until(protocol.Progress)
        began = time.monotonic()
        loop.supervisor.stop("the daemon ends")
        loop.until_state(S.STOPPED)
        assert time.monotonic() - began < 1.5
        assert [told.why for told in loop.of(events.JobCancelled)] == ["the daemon ends"]
        assert loop.log.lines[-1][1]["returncode"] == 0


def test_left_children_end_with_the_worker(job):
    """What a dead worker left behind is ended with it."""
    with Loop("leaves_children") as loop:
        loop.ready().supervisor.generate(job())
        lost = loop.until(events.WorkerLost)
        assert "exited with status 9" in lost.error.what
        child = next(
            int(told.line.split()[1]) for told in loop.of(events.EngineOutput) if told.line.startswith("child")
        )
        assert gone(child)


def test_worker_has_its_own_session(job):
    """Ctrl-C and signals of the daemon's terminal do not reach the worker."""
    with Loop("slow", config={"step": 0.02, "steps": 20}) as loop:
        loop.ready().supervisor.generate(job())
        pid = loop.supervisor.pid
        os.kill(pid, signal.SIGINT)
        assert os.getsid(pid) == os.getpgid(pid) == pid
        assert loop.until(protocol.Generated).run_id == "r1"


DAEMON = """
import sys, time
sys.path.insert(0, sys.argv[1])
from support.supervising import Loop, request
from povwatch.process import protocol
from povwatch.workers import events
loop = Loop(sys.argv[2]).ready()
loop.supervisor.generate(request("r1", 1, sys.argv[3], sys.argv[3], video="", frames=1))
loop.until(protocol.Progress)
print(loop.supervisor.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("engine", ["slow", "hangs", "locks_the_interpreter"])
def test_worker_ends_with_its_daemon(tmp_path, engine):
    """A worker does not outlive its daemon, whatever it is doing."""
    command = [sys.executable, "-c", DAEMON, str(ENGINES.parent), engine, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        worker = int(daemon.stdout.readline())
        assert alive(worker)
        daemon.kill()
        assert gone(worker)


def test_worker_ends_with_its_channel(tmp_path):
    """As after a daemon's death where PR_SET_PDEATHSIG does not reach: only the socket is closed."""
    with Loop("hangs", stop=60) as loop:
        worker = loop.ready().supervisor.pid
        loop.supervisor.generate(request("r1", 1, tmp_path, tmp_path))
        loop.until(protocol.Progress)
        process = loop.supervisor._worker.process
        process._channel._socket.shutdown(2)
        lost = loop.until(events.WorkerLost, within=6)
        assert (lost.run_id, "exited with status 1" in lost.error.what) == ("r1", True), lost
        assert not alive(worker)


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def children():
    """Of this process, those that nobody has waited for among them; the suite's servers may be there already."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # gone meanwhile
            if f"\nPPid:\t{os.getpid()}\n" in status.read_text(errors="replace"):
                found.append(int(status.parent.name))
    return sorted(found)


def test_fifty_workers_leave_nothing_behind():
    """Fifty workers leave no descriptor, thread or child behind."""
    with Loop("copies", python="/bin/true") as loop:  # exits at once: a worker's whole life in a millisecond
        before = descriptors()
        threads, others = threading.active_count(), children()
        loop.start()
        for _ in range(50):
            loop.until(events.EngineUnavailable)
            loop.forget()
            loop.supervisor.retry_at = time.monotonic()
        loop.supervisor.close()
        assert loop.log.names().count("worker-started") >= 50
        assert descriptors() == before
        assert threading.active_count() == threads
        assert children() == others


def test_failed_start_leaves_nothing_behind(tmp_path):
    """A worker that cannot be started leaves no descriptor behind."""
    with Loop("copies", python=str(tmp_path / "missing")) as loop:
        before = descriptors()
        loop.start()
        loop.until(events.EngineUnavailable)
        assert descriptors() == before


def test_job_for_a_dead_worker_is_released(job):
    """A job that is given to a worker that died unseen is handed back."""
    with Loop("copies") as loop:
        pid = loop.ready().supervisor.pid
        os.kill(pid, signal.SIGKILL)
        assert gone(pid)
        loop.supervisor.generate(job())
        assert loop.until(events.JobCancelled).why == "The worker was lost before the job began."
        loop.until_state(S.READY)
