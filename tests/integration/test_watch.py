"""The watcher against the kernel's own inotify."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import queue
import threading

import pytest
from watchdog.observers import inotify_c
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD

from povwatch.arrival.watch import Watcher

PATIENCE = 10
"""Seconds that a hint may take on a busy machine."""


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "inputs"
    folder.mkdir()
    return folder


@pytest.fixture
def hints():
    return queue.Queue()


@pytest.fixture
def watcher(inputs, hints):
    watcher = Watcher(inputs, hints, recursive=True)
    assert watcher.start()
    yield watcher
    watcher.stop()


def expect(hints, path):
    """Wait for a hint."""
    seen = []
    while path not in seen:
        try:
            seen.append(hints.get(timeout=PATIENCE))
        except queue.Empty:
            pytest.fail(f"no hint at {path}, only {seen}")


@pytest.mark.usefixtures("watcher")
def test_every_way_a_file_comes(inputs, hints, tmp_path):
    """A file that is written, moved, linked, renamed or removed gives a hint."""
    (inputs / "written.mp4").write_bytes(b"x")
    expect(hints, b"written.mp4")
    (tmp_path / "outside.mp4").write_bytes(b"x")
    (tmp_path / "outside.mp4").rename(inputs / "moved.mp4")
    expect(hints, b"moved.mp4")
    (inputs / "hard.mp4").hardlink_to(inputs / "moved.mp4")
    expect(hints, b"hard.mp4")
    (inputs / "soft.mp4").symlink_to("moved.mp4")
    expect(hints, b"soft.mp4")
    (inputs / "moved.mp4").rename(inputs / "renamed.mp4")
    expect(hints, b"renamed.mp4")
    (inputs / "renamed.mp4").unlink()
    expect(hints, b"renamed.mp4")


@pytest.mark.usefixtures("watcher")
def test_new_folders_are_watched(inputs, hints, tmp_path):
    """Folders that are made or moved in are watched, and ask for a rescan."""
    (inputs / "new").mkdir()
    expect(hints, None)  # rescan: files may have come before the folder was watched
    expect(hints, b"new")
    (inputs / "new" / "a.mp4").touch()
    expect(hints, b"new/a.mp4")
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "b.mp4").touch()
    (tmp_path / "whole").rename(inputs / "whole")
    expect(hints, b"whole")
    (inputs / "whole" / "c.mp4").touch()
    expect(hints, b"whole/c.mp4")


@pytest.mark.usefixtures("watcher")
def test_names_that_are_no_text(inputs, hints):
    """Names of any bytes come through."""
    with open(os.fsencode(inputs) + b"/\xff\n.mp4", "wb"):  # noqa: PTH123 - bytes
        pass
    expect(hints, b"\xff\n.mp4")


@pytest.mark.usefixtures("watcher")
def test_reading_is_no_hint(inputs, hints):
    (inputs / "a.mp4").write_bytes(b"x")
    expect(hints, b"a.mp4")
    for _ in range(20):
        (inputs / "a.mp4").read_bytes()
        list(inputs.iterdir())
    (inputs / "end.mp4").touch()
    seen = []
    while b"end.mp4" not in seen:
        seen.append(hints.get(timeout=PATIENCE))
    assert seen.count(b"a.mp4") <= 1  # the end of the writing


def test_root_removed_and_made_anew(inputs, hints, watcher):
    """What kills watchdog's emitter while its observer says that it is alive."""
    assert watcher.alive()
    inputs.rmdir()
    expect(hints, None)
    assert not watcher.alive()
    inputs.mkdir()
    assert not watcher.alive()
    assert watcher.start()
    assert watcher.alive()
    (inputs / "a.mp4").touch()
    expect(hints, b"a.mp4")


def test_renamed_root_is_not_alive(inputs, watcher):
    """A watcher whose root was renamed away is not alive, also when another folder has its name."""
    inputs.rename(inputs.with_name("old"))
    assert not watcher.alive()
    inputs.mkdir()
    assert not watcher.alive()


@pytest.mark.parametrize("which", ["_inotify", "_observer"])
def test_dead_thread_is_seen(watcher, which):
    """A thread of the watcher that died alone is seen, and a new start helps."""
    thread = getattr(watcher, which)
    thread.stop()
    thread.join(PATIENCE)
    assert not watcher.alive()
    assert watcher.start()
    assert watcher.alive()


def test_many_folders_at_once(inputs, watcher):
    """watchdog 7.1 warns when it meets a folder twice, and a warning that is made an error ends its thread."""
    for i in range(200):
        (inputs / str(i) / "deep" / "deeper").mkdir(parents=True)
    (inputs / "0" / "a.mp4").touch()
    assert watcher.alive()


def test_no_root_is_no_crash(inputs, hints):
    """Without a root the watcher does not start and says so; it starts once there is one."""
    inputs.rmdir()
    watcher = Watcher(inputs, hints, recursive=True)
    assert not watcher.start()
    assert not watcher.alive()
    assert "rescan" in watcher.problem
    inputs.mkdir()
    assert watcher.start()
    assert watcher.problem is None
    watcher.stop()


def test_linked_root_is_followed(inputs, hints, tmp_path):
    """A root that is a symlink is followed."""
    (tmp_path / "link").symlink_to(inputs)
    watcher = Watcher(tmp_path / "link", hints, recursive=True)
    assert watcher.start()
    (inputs / "a.mp4").touch()
    expect(hints, b"a.mp4")
    assert watcher.alive()
    watcher.stop()


@pytest.mark.parametrize(("code", "limit"), [(errno.ENOSPC, "max_user_watches"), (errno.EMFILE, "max_user_instances")])
def test_kernel_limit_leaves_the_rescan(inputs, hints, monkeypatch, code, limit):
    """A limit of the kernel is named, and the rescan is said to be left."""

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(InotifyFD, "add_callback" if code == errno.ENOSPC else "_create_inotify_fd", refuse)
    watcher = Watcher(inputs, hints, recursive=True)
    assert not watcher.start()
    assert limit in watcher.problem
    assert "rescan" in watcher.problem


ADD_WATCH = inotify_c.inotify_add_watch


def allow(monkeypatch, watches):
    """Let inotify watch so many folders, as /proc/sys/fs/inotify/max_user_watches does for all programs of a user."""
    watched = {}

    def limited(fd, path, mask):
        if path not in watched and len(watched) >= watches:
            ctypes.set_errno(errno.ENOSPC)
            return -1
        watched[path] = ADD_WATCH(fd, path, mask)
        return watched[path]

    monkeypatch.setattr(inotify_c, "inotify_add_watch", limited)


def test_unwatched_folders_are_counted(inputs, hints, monkeypatch):
    """Folders beyond the limit of watches are counted, with the command that raises it; others are watched."""
    for name in "abcde":
        (inputs / name).mkdir()
    allow(monkeypatch, 4)
    watcher = Watcher(inputs, hints, recursive=True)
    assert watcher.start()
    assert (watcher.problem, watcher.unwatched) == (None, 2)
    assert watcher.shortage.startswith("2 folders are not watched, since inotify allows ")
    assert "sudo sysctl fs.inotify.max_user_watches=" in watcher.shortage
    (inputs / "x.mp4").touch()
    expect(hints, b"x.mp4")
    (inputs / "f").mkdir()
    expect(hints, b"f")
    assert watcher.unwatched == 3
    watcher.stop()
    allow(monkeypatch, 100)
    assert watcher.start()
    assert watcher.unwatched == 0
    watcher.stop()


def test_clipless_folders_are_not_watched(inputs, hints):
    """Folders in which no clips are taken in are not watched."""
    for name in ("#snapshot/monday/deep", "$RECYCLE.BIN/S-1", "sub/System Volume Information/x", "lost+found/#12"):
        (inputs / name).mkdir(parents=True)
    watcher = Watcher(inputs, hints, recursive=True)
    assert watcher.start()
    (inputs / "sub" / "clip.mp4.download" / "deep").mkdir(parents=True)
    (inputs / "sub" / "new").mkdir()
    expect(hints, b"sub/new")
    (inputs / "sub" / "new" / "a.mp4").touch()
    expect(hints, b"sub/new/a.mp4")
    (group,) = (emitter._inotify for emitter in watcher._observer.emitters)
    watched = {os.path.relpath(path, os.fsencode(inputs)) for path in group._active_callbacks_by_path}
    watcher.stop()
    assert watched == {b".", b"sub", b"sub/new"}


def test_lost_event_asks_for_a_rescan(hints, watcher):
    """The kernel's word for it, given to watchdog by hand: its queue holds 16,384 events."""
    overflow = InotifyEvent(-1, InotifyConstants.IN_Q_OVERFLOW, 0, b"")
    watcher._inotify.handle_event(overflow)
    expect(hints, None)
    assert watcher.alive()
    watcher.stop()
    while not hints.empty():
        hints.get()
    logging.getLogger("watchdog.observers.inotify_c").warning("Inotify queue overflowed")
    assert hints.empty()


def test_stop_leaves_nothing(inputs, hints):
    """A stop leaves no thread and no descriptor."""
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    watcher = Watcher(inputs, hints, recursive=True)
    for _ in range(3):
        assert watcher.start()
    watcher.stop()
    watcher.stop()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == files  # noqa: PTH208
