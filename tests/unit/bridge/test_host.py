"""A node's side without a cluster: what it finds wrong with itself, and what is left when it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from support.daemons import toy

from povwatch.bridge.host import VARIABLE, Host
from povwatch.bridge.orphans import MARK, mark, sweep
from povwatch.process import protocol


@pytest.fixture
def node(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "state"))
    return Host(leave=lambda _: None)


def test_a_good_node_has_no_problems(node, tmp_path):
    found = node.look("", toy("copies"), 1)
    assert found["problems"] == []
    assert (found["state"], found["runtime"]) == (str(tmp_path / "state"), sys.executable)


@pytest.mark.parametrize(
    ("runtime", "words"),
    [
        ("/nowhere/python", "The engine's interpreter /nowhere/python is not there."),
        ("/bin/false", "The engine's interpreter /bin/false does not run: it exited with status 1."),
    ],
)
def test_an_interpreter_is_tried(node, runtime, words):
    assert node.look(runtime, "povwatch.engines.preview:PreviewEngine", 1)["problems"][0].startswith(words)


def test_an_old_interpreter_is_refused(node, tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\necho 3 9\n")
    old.chmod(0o755)
    (problem,) = node.look(str(old), "povwatch.engines.preview:PreviewEngine", 1)["problems"]
    assert problem == f"The engine's interpreter {old} is Python 3.9; 3.10 or later is needed."


def test_a_missing_engine_is_told(node):
    (problem,) = node.look("", "/nowhere/engine.py:Engine", 1)["problems"]
    assert problem == "The engine's file /nowhere/engine.py is not there. Copy it to the same path on every node."


def test_a_full_disk_is_told(node, tmp_path):
    (problem,) = node.look("", toy("copies"), 10**18)["problems"]
    assert problem.startswith(f"{tmp_path}/state has ")
    assert "1000000000.0 GB are needed" in problem


def test_a_file_as_state_folder_is_told(tmp_path, monkeypatch):
    (tmp_path / "state").write_text("")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "state"))
    (problem,) = Host(leave=lambda _: None).look("", toy("copies"), 1)["problems"]
    assert problem.startswith(f"{tmp_path}/state cannot be written: ")


def test_a_worker_gets_nothing_of_ray(node, monkeypatch, tmp_path):
    """Neither its token, nor its idea of how many threads there are; and it says what it does."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    engine = tmp_path / "tells.py"
    engine.write_text(
        textwrap.dedent("""
            import os
            class Engine:
                def load(self, config, report):
                    return {"env": sorted(os.environ)}
        """)
    )
    node.look("", str(engine) + ":Engine", 1)
    pid, _ = node.start(sys.executable, f"{engine}:Engine", {"CALLED": "x"}, [])
    node.tell([protocol.encode(protocol.Load({}), 1)])
    seen = []
    for items in node.says():
        seen += items
        messages = [protocol.decode(item[1])[0] for item in seen if item[0] == "line"]
        if any(isinstance(one, protocol.Loaded) for one in messages):
            node.signal(signal.SIGKILL)
    (loaded,) = [one for one in messages if isinstance(one, protocol.Loaded)]
    assert {"CALLED", MARK} < set(loaded.capabilities["env"])
    assert not {"RAY_AUTH_TOKEN", "OMP_NUM_THREADS"} & set(loaded.capabilities["env"])
    assert seen[-1] == ["ended", -signal.SIGKILL, []]
    assert not Path(f"/proc/{pid}").exists()


def test_orphans_of_a_dead_actor_are_killed():
    """A living one's are left alone."""
    actor = subprocess.Popen(["sleep", "600"])
    env = os.environ | {MARK: mark(actor.pid)}
    orphan = subprocess.Popen(["sleep", "600"], env=env, start_new_session=True)
    try:
        while not Path(f"/proc/{orphan.pid}/environ").read_bytes():
            time.sleep(0.01)
        assert orphan.pid not in sweep()
        actor.kill()
        actor.wait()
        assert orphan.pid in sweep()
        assert orphan.wait(10) == -signal.SIGKILL
    finally:
        for one in (actor, orphan):
            one.kill()
            one.wait()


def test_a_reused_pid_is_no_actor():
    """A mark has the time at which the actor started."""
    pid, _, begun = mark().partition("-")
    env = os.environ | {MARK: f"{pid}-{int(begun) - 1}"}
    orphan = subprocess.Popen(["sleep", "600"], env=env)
    try:
        while not Path(f"/proc/{orphan.pid}/environ").read_bytes():
            time.sleep(0.01)
        assert orphan.pid in sweep()
    finally:
        orphan.kill()
        orphan.wait()
