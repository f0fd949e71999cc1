"""The child: what it finds, how it fails, and that it never outlives its use."""

from __future__ import annotations

import errno
import importlib
import inspect
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import pytest
from support.clips import make_clip

from povwatch.core.errors import DiskFull, EnvironmentFault, NotAVideo
from povwatch.media import child
from povwatch.media.errors import MediaError, MediaStopped, TooLarge
from povwatch.media.run import PROBE, Limits, call


@pytest.fixture
def clip(tmp_path):
    return make_clip(tmp_path / "a.mov", frames=20)


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory):
    """A clip that takes seconds to prepare, and a moment to make: one frame again and again."""
    folder = tmp_path_factory.mktemp("long")
    made = make_clip(folder / "one.mov", frames=1, size=(1280, 720), codec="mpeg4")
    with av.open(str(made)) as source, av.open(str(folder / "long.mov"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        [picture] = (bytes(packet) for packet in source.demux(video=0) if packet.size)
        for number in range(800):
            packet = av.Packet(picture)
            packet.stream, packet.is_keyframe, packet.time_base = stream, True, Fraction(1, 30)
            packet.pts = packet.dts = number
            out.mux(packet)
    return folder / "long.mov"


@pytest.fixture(scope="module")
def long_info(long_clip):
    return look(long_clip)


def look(clip, **how):
    return call("inspect", {"path": str(clip), "kind": "mp4"}, timeout=30, **{"limits": PROBE, **how})


@pytest.fixture
def left():
    """What the test has left running, in the words of /proc. The suite's own server of processes does not count."""

    def children():
        return set(Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())

    before = children()
    return lambda: children() - before


def test_whole_way_through_children(clip, tmp_path, left):
    """Inspect, prepare, finish and check run in children, report progress and leave no process."""
    told = []
    info = look(clip)
    work, out = str(tmp_path / "work.mp4"), str(tmp_path / "out.mp4")
    ready = call("prepare", {"source": str(clip), "info": info, "out_path": work}, timeout=30, on_progress=told.append)
    call(
        "finish",
        {"info": info, "prepared": ready, "generated": work, "out_path": out},
        timeout=30,
    )
    found = call("check", {"artifact": out, "expectation": {"frames": 20, "times": ready["times"],
                                                           "time_base": ready["time_base"]}}, timeout=30)  # fmt: skip
    assert found["frames"] == ready["frames"] == 20
    assert told
    assert all(0 < fraction <= 1 for fraction in told)
    assert not left()


def test_errors_keep_their_class(clip, tmp_path):
    """An error of a child keeps its class, and has something to do."""
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(NotAVideo, match=r"text\.mp4") as caught:
        look(tmp_path / "text.mp4")
    assert caught.value.todo
    with pytest.raises(TooLarge, match="more than 5 frames"):
        call("inspect", {"path": str(clip), "kind": "mp4", "bounds": {"frames": 5}}, timeout=30)


def test_unforeseen_error_is_one_line():
    with pytest.raises(MediaError, match="Looking into the clip failed: TypeError"):
        call("inspect", {"colour": "blue"}, timeout=30)


def test_full_disk_is_the_disks_fault(clip, tmp_path):
    info = look(clip)
    (tmp_path / "work.mp4").symlink_to("/dev/full")
    with pytest.raises(DiskFull, match="No space"):
        call("prepare", {"source": str(clip), "info": info, "out_path": str(tmp_path / "work.mp4")}, timeout=30)


@pytest.mark.parametrize(
    ("limits", "words"),
    [(Limits(memory=192 * 2**20), "memory than its limit of 0.2 GiB"), (Limits(file_bytes=4096), "4096 bytes")],
)
def test_broken_limit_is_named(clip, tmp_path, limits, words):
    """A child that breaks its limit of memory or file size fails with that limit named."""
    info = look(clip)
    with pytest.raises(MediaError, match=words):
        call(
            "prepare",
            {"source": str(clip), "info": info, "out_path": str(tmp_path / "work.mp4")},
            timeout=60,
            limits=limits,
        )


def test_limit_of_processor_time_is_named(long_clip, long_info, tmp_path):
    with pytest.raises(MediaError, match="1 s of processor time"):
        call(
            "prepare",
            {"source": str(long_clip), "info": long_info, "out_path": str(tmp_path / "work.mp4")},
            timeout=60,
            limits=Limits(cpu_seconds=1),
        )


def test_too_slow_is_stopped(long_clip, long_info, tmp_path, left):
    """A child that takes longer than its time is ended soon, and leaves no process."""
    began = time.monotonic()
    with pytest.raises(MediaError, match="took longer than 0 s"):
        call(
            "prepare",
            {"source": str(long_clip), "info": long_info, "out_path": str(tmp_path / "work.mp4")},
            timeout=0.3,
        )
    assert time.monotonic() - began < 3
    assert not left()


@pytest.mark.parametrize("as_event", [True, False])
def test_call_can_be_called_off(long_clip, long_info, tmp_path, as_event, left):
    """A call ends when it is called off, by an event or a function, and leaves no process."""
    stop = threading.Event()
    with pytest.raises(MediaStopped):
        call(
            "prepare",
            {"source": str(long_clip), "info": long_info, "out_path": str(tmp_path / "work.mp4")},
            timeout=60,
            on_progress=lambda _: stop.set(),
            cancelled=stop if as_event else stop.is_set,
        )
    assert not left()


def test_killed_child_is_told(clip, monkeypatch):
    start = subprocess.Popen

    def start_and_kill(*args, **kwargs):
        process = start(*args, **kwargs)
        process.kill()
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_kill)
    with pytest.raises(MediaError, match="SIGKILL"):
        look(clip)


def test_nothing_is_left_behind(clip, left):
    """Calls, failed ones too, leave no descriptor and no process."""
    look(clip)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        look(clip)
    with pytest.raises(MediaError):
        call("inspect", {}, timeout=30)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not left()


def test_several_threads_at_once(clip):
    """Several threads may each have a child at once."""
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(look(clip)["frames"])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [20, 20, 20]


def test_child_dies_with_its_parent(long_clip, long_info, tmp_path):
    """Even one that is stuck: it is stopped here, so that it cannot notice by itself."""
    script = textwrap.dedent(f"""
        from povwatch.media.run import call
        args = {{"source": {str(long_clip)!r}, "info": {long_info!r}, "out_path": {str(tmp_path / "w.mp4")!r}}}
        call("prepare", args, timeout=60, on_progress=lambda _: print("working", flush=True))
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        child = int(Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()[0])
        os.kill(child, signal.SIGSTOP)
        parent.kill()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}/status").exists() and "zombie" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.02)


def test_daemon_side_loads_no_media_library():
    code = (
        "import sys, povwatch.media.run, povwatch.media.info;"
        "print(sorted({'av', 'cv2', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOMEM, "memory"), (errno.EAGAIN, "TasksMax"), (errno.EMFILE, "LimitNOFILE")]
)
def test_child_that_cannot_be_started(clip, monkeypatch, number, words):
    """A child that cannot be started is the machine's fault, with what helps, and leaks no descriptor."""

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(subprocess, "Popen", refuse)
    with pytest.raises(EnvironmentFault, match=os.strerror(number)) as caught:
        look(clip)
    assert words in caught.value.todo
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_no_descriptor_is_the_machines_fault(clip):
    """Without a free descriptor the machine is blamed, not the clip."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    limit = max(int(fd.name) for fd in Path("/proc/self/fd").iterdir()) + 16  # the tests before may have left some open
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            taken.extend(os.open("/dev/null", os.O_RDONLY) for _ in range(limit))
        for _ in range(4):  # the selector's, then those of the child's pipes
            with pytest.raises(EnvironmentFault, match="Too many open files"):
                look(clip)
            os.close(taken.pop())
    finally:
        for fd in taken:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("function", [function for function, _ in child.OPERATIONS.values()])
def test_each_operation_has_its_function(function):
    """Every operation names a function that takes `report`."""
    module, name = function.split(":")
    assert "report" in inspect.signature(getattr(importlib.import_module(module), name)).parameters
