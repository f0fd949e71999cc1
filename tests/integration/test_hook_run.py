"""A hook's process and everything below it: no way out, whatever it does; nothing is left when we are gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from povwatch.core.errors import HookFailed, HookUnavailable
from povwatch.hooks.program import run_program

PATIENCE = 30.0

GETS_AWAY = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 3)
        open("away", "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
while not os.path.exists("away") or not open("away").read():
    time.sleep(0.01)
"""
"""A daemon of the old school: another session, another parent, no descriptor of ours."""

STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("here", flush=True)
open("stubborn", "w").write(str(os.getpid()))
time.sleep(600)
"""


def python(code):
    return [sys.executable, "-I", "-S", "-c", code]


def do(folder, argv, *, timeout=PATIENCE, cancelled=None, on_line=None, **env):
    lines = []
    ended = run_program(
        argv,
        cwd=folder,
        env=env,
        timeout=timeout,
        on_line=on_line or lines.append,
        cancelled=cancelled or threading.Event(),
    )
    return ended, lines


def gone(pid):
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.01)
    return True


def written(file):
    deadline = time.monotonic() + PATIENCE
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return int(file.read_text())


def test_output_status_and_folder(tmp_path, monkeypatch):
    """A hook has its arguments, folder and environment as given, and its lines and status are told."""
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    code = 'echo "$1 $PWD $X ${NOTIFY_SOCKET-none}"; echo no >&2; printf half; exit 3'
    ended, lines = do(tmp_path, ["sh", "-c", code, "sh", "a \n$(b)"], X="y")
    assert lines == ["a", f"$(b) {tmp_path} y none", "no", "half"]
    odd = os.fsdecode(b"\xff\n")
    assert do(tmp_path, ["sh", "-c", 'printf "$1" | od -An -tx1', "sh", odd])[1] == [" ff 0a"]
    assert (ended.status, ended.left, ended.timed_out, ended.called_off) == (3, (), False, False)
    assert ended.tail[-1] == "half"
    ended, _ = do(tmp_path, ["sh", "-c", "kill -SEGV $$"])
    assert ended.status == -signal.SIGSEGV


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda _: None, "x cannot be started (No such file or directory). Is the path in `argv` right?"),
        (lambda file: file.write_text("#!/bin/sh\n"), "x cannot be started (Permission denied). Let povwatch's user"),
        (lambda file: file.write_bytes(b"no program") and file.chmod(0o755), "(Exec format error). Its first line"),
    ],
)
def test_unstartable_program_is_told(tmp_path, make, says):
    """A program that cannot be started is told with what helps."""
    make(tmp_path / "x")
    with pytest.raises(HookUnavailable) as caught:
        do(tmp_path, ["./x"])
    assert says in str(caught.value)


def test_left_processes_are_ended(tmp_path):
    """A process that a hook leaves behind is ended and named, though it got away from its group."""
    ended, _ = do(tmp_path, python(GETS_AWAY))
    assert ended.status == 0
    assert len(ended.left) == 1
    assert ended.left[0].startswith("python")
    assert not Path(f"/proc/{written(tmp_path / 'away')}").exists(), "not even as a zombie"


def test_timeout_ends_all_below(tmp_path):
    """A hook that takes too long is ended with everything below it."""
    begun = time.monotonic()
    ended, _ = do(tmp_path, python(GETS_AWAY + "time.sleep(600)"), timeout=0.5)
    assert time.monotonic() - begun < PATIENCE
    assert ended.timed_out
    assert gone(written(tmp_path / "away"))


def test_deaf_hook_is_killed(tmp_path):
    """A hook that ignores SIGTERM is killed when it is called off."""
    cancelled = threading.Event()
    ended, _ = do(tmp_path, python(STUBBORN), cancelled=cancelled, on_line=lambda _: cancelled.set())
    assert (ended.called_off, ended.status) == (True, -signal.SIGKILL)
    assert gone(written(tmp_path / "stubborn"))


def test_asked_before_it_is_killed(tmp_path):
    """A hook is asked to end, and may tidy up, before it is killed."""
    cancelled = threading.Event()
    code = "trap 'echo tidied; exit 5' TERM; echo here; while :; do sleep 0.05; done"
    lines = []

    def told(line):
        lines.append(line)
        cancelled.set()

    ended, _ = do(tmp_path, ["sh", "-c", code], cancelled=cancelled, on_line=told)
    said = [line for line in lines if line != "Terminated"]  # by the shell of its sleep, where that was asked too
    assert (ended.called_off, ended.status, said) == (True, 5, ["here", "tidied"])


def ours(folder, code):
    """A process that runs a hook, as the daemon does."""
    call = f"""
import sys, threading, pathlib
from povwatch.hooks.program import run_program
run_program([sys.executable, "-c", {code!r}], cwd=pathlib.Path.cwd(), env={{}}, timeout=600, on_line=print,
    cancelled=threading.Event())
"""
    return subprocess.Popen([sys.executable, "-c", call], cwd=folder, stdout=subprocess.DEVNULL)


def test_hook_ends_when_we_are_killed(tmp_path):
    """Everything that a hook started ends when the daemon is killed."""
    with ours(tmp_path, GETS_AWAY + STUBBORN) as daemon:
        pids = [written(tmp_path / name) for name in ("away", "stubborn")]
        daemon.kill()
    assert all(map(gone, pids))


def test_hook_ends_without_reaper_or_daemon(tmp_path):
    """A hook ends when its reaper is killed while the daemon stands still."""
    told = 'open("reaper", "w").write(str(os.getppid()))'
    with ours(tmp_path, f"import os; {told}\n{STUBBORN}") as daemon:
        pid, reaper = written(tmp_path / "stubborn"), written(tmp_path / "reaper")
        daemon.send_signal(signal.SIGSTOP)
        os.kill(reaper, signal.SIGKILL)
        there = gone(pid)
        daemon.kill()
    assert there


def test_hook_ends_when_its_reaper_is_killed(tmp_path):
    """A hook ends when its reaper is killed, and has failed."""

    def kill_its_parent(line):
        os.kill(int(line), signal.SIGKILL)

    with pytest.raises(HookFailed, match="watches over it was killed"):
        do(tmp_path, ["sh", "-c", "echo $$ >me; echo $PPID; exec sleep 600"], on_line=kill_its_parent)
    assert gone(written(tmp_path / "me"))


def test_flood_of_output_is_bounded(tmp_path):
    """A flood of output is cut, what is left out is counted, and it holds nobody up."""
    ended, lines = do(tmp_path, ["sh", "-c", "yes | head -c 1000000; echo end"])
    assert ended.status == 0
    assert 500 <= len(lines) < 2000
    assert ended.left_out > 400_000
    assert ended.tail[-1] == "end"
    assert do(tmp_path, ["yes"], timeout=0.3)[0].timed_out


def test_no_descriptor_and_no_zombie_is_left(tmp_path):
    children = Path(f"/proc/self/task/{threading.get_native_id()}/children")
    there = children.read_text()  # the suite's own server of processes
    do(tmp_path, ["true"])
    before = len(list(Path("/proc/self/fd").iterdir()))
    for argv in (["true"], ["false"], python(GETS_AWAY)):
        do(tmp_path, argv)
    with pytest.raises(HookUnavailable):
        do(tmp_path, ["./not-there"])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert children.read_text() == there
