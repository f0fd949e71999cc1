"""The watch over inputs/ with everything real but the time: inotify, folders and mounts, jobs in a journal.

The clips are empty files: each has a job that waits for the rest of it, and would be cancelled if it were gone.
Hints come when the kernel sends them; rescans, health and patience go by a clock that stands until it is set.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.built import Built
from watchdog.observers.inotify_c import InotifyFD

from povwatch.arrival.folder_monitor import HEALTH_EVERY, RESCAN_SHARE, WATCH_PAUSE_MAX
from povwatch.arrival.stage import GONE_PATIENCE
from povwatch.arrival.watch import Watcher
from povwatch.core.job import JobState

PATIENCE = 30
"""Seconds that the kernel's hints may take on a busy machine."""

LONG = 20 * GONE_PATIENCE
"""After that much time whatever was ever to be cancelled is."""

MANY = 10_000 if os.environ.get("POVWATCH_TEST_ALL") else 2_000
"""benchmarks/arrivals_100k.py has the whole daemon and a hundred thousand."""


class Watched(Built):
    """A daemon whose folder is watched for real."""

    def __init__(self, folder, *, rescan="10d"):
        self.adopted = 0
        super().__init__(folder, watcher=Watcher, arrival={"settle": "5s", "rescan": rescan})
        self.folder_monitor = self.app.folder_monitor
        self._keep, self.app.root.keep = self.app.root.keep, self._keep_and_count
        self.turn()
        self.turn()  # what the first one asked for

    def _keep_and_count(self):
        """Another folder is taken for inputs/."""
        self.adopted += 1
        self._keep()

    def turn(self):
        """One turn of the daemon's loop."""
        self.folder_monitor.tick(self.clock.now)
        if self.app.root.away is None:
            self.app.arrival.tick(self.clock.now)
        self.no_bug()

    def later(self, seconds):
        """Let time pass, as the loop does: every second there is something to look at."""
        for _ in range(int(seconds)):
            self.clock.now += HEALTH_EVERY
            self.turn()

    def until(self, true, *, passing=0.0):
        """Let hints come; the time stands, or passes by so many seconds a turn."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, f"never: {true}"
            self.clock.now += passing
            self.turn()
            time.sleep(0.01)

    def seen(self):
        """Every clip with a job that has not ended."""
        return {os.fsdecode(path) for path, known in self.app.store.known.items() if not known.state.ended}

    def expect(self, *clips):
        """Wait until these are seen, and no others."""
        self.until(lambda: self.seen() == set(clips))

    def make(self, *names):
        for name in names:
            (self.inputs / name).parent.mkdir(parents=True, exist_ok=True)
            (self.inputs / name).touch()

    @property
    def withdrawn(self):
        """The clips whose jobs were cancelled."""
        return [os.fsdecode(job.path) for job in self.app.store.ended.values() if job.state is JobState.CANCELLED]


@pytest.fixture
def here(tmp_path):
    made = Watched(tmp_path)
    yield made
    made.close()


@contextmanager
def bound(what, where):
    """A bind mount, taken away at the end or before."""
    done = subprocess.run(["mount", "--bind", what, where], check=False, capture_output=True, text=True)
    if done.returncode:
        if os.environ.get("POVWATCH_TEST_ALL") and os.geteuid() == 0:
            pytest.fail(done.stderr)
        pytest.skip(f"mounting is not possible here: {done.stderr.strip()}")
    try:
        yield lambda: subprocess.run(["umount", "--lazy", where], check=True)
    finally:
        subprocess.run(["umount", "--lazy", where], check=False, capture_output=True)


# -- nothing is missed


def test_none_of_many_files_is_missed(tmp_path):
    """watchdog loses events where many come at once, some of them without a word: the rescan has the last one."""
    here = Watched(tmp_path, rescan="30s")
    try:
        writer = subprocess.Popen([sys.executable, "-c", WRITE, here.inputs, str(MANY)])
        while writer.poll() is None:
            here.folder_monitor.tick(here.clock.now)  # as they come; no clip has to be sampled here
            time.sleep(0.02)
        assert writer.returncode == 0
        here.clock.now += 30 + RESCAN_SHARE * PATIENCE  # a rescan, however long the last one took
        here.folder_monitor.tick(here.clock.now)
        assert len(here.seen()) == MANY
        assert here.app.journal.counts() == {JobState.ARRIVING: MANY}
        assert here.withdrawn == []
    finally:
        here.close()


WRITE = """
import os, sys
root, many = sys.argv[1], int(sys.argv[2])
for n in range(many):
    if n % 1000 == 0:
        os.mkdir(f"{root}/day-{n // 1000}")
    os.close(os.open(f"{root}/day-{n // 1000}/{n}.mp4", os.O_CREAT | os.O_WRONLY))
"""


def test_folders_come_and_go_whole(here, tmp_path):
    """A folder that is moved in, renamed or moved out takes all clips below it along."""
    away = tmp_path / "card"
    for name in ("a.mp4", "day/b.mp4", "day/deep/er/c.mp4"):
        (away / name).parent.mkdir(parents=True, exist_ok=True)
        (away / name).touch()
    away.rename(here.inputs / "card")  # nothing in it is written any more: there is no event for a clip
    here.expect("card/a.mp4", "card/day/b.mp4", "card/day/deep/er/c.mp4")
    here.make("card/day/deep/er/later.mp4")  # and the folders in it are watched
    here.until(lambda: "card/day/deep/er/later.mp4" in here.seen())
    here.clock.now += 1000  # a rescan is due at once again
    (here.inputs / "card").rename(here.inputs / "camera 1")
    here.until(lambda: "camera 1/day/deep/er/c.mp4" in here.seen())
    here.later(LONG)
    names = ("a.mp4", "day/b.mp4", "day/deep/er/c.mp4", "day/deep/er/later.mp4")
    assert sorted(here.withdrawn) == [f"card/{name}" for name in names]
    here.expect(*(f"camera 1/{name}" for name in names))
    (here.inputs / "camera 1").rename(tmp_path / "out")
    here.until(lambda: not here.seen(), passing=1)


def test_full_kernel_queue_asks_for_a_rescan(here):
    """The thread that reads it stands still, as a daemon that is stopped; the last file of all has no event."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    reader = here.folder_monitor._watcher._inotify
    held = []
    real = reader.handle_event

    def hold(event):
        held.append(event)
        deadline = time.monotonic() + PATIENCE
        while not here.let_go and time.monotonic() < deadline:
            time.sleep(0.01)
        return real(event)

    here.let_go = False
    reader.handle_event = hold
    here.make("first.mp4")
    here.until(lambda: held)  # it stands still with this one; whatever comes now stays in the kernel
    names = [os.fsencode(here.inputs / name) for name in (".povwatch-x", ".povwatch-y")]  # which ask for no look
    for n in range(limit + 1000):
        os.close(os.open(names[n % 2], os.O_CREAT | os.O_WRONLY))
        os.unlink(names[n % 2])  # noqa: PTH108 - bytes
    here.make("last.mp4")
    scans = here.folder_monitor.scanned_at
    here.clock.now += 1
    here.let_go = True
    here.expect("first.mp4", "last.mp4")
    assert here.folder_monitor.scanned_at > scans


# -- the watcher


@pytest.mark.parametrize("which", ["_inotify", "_observer"])
def test_dead_watcher_is_started_anew(here, which):
    """A watcher that died is started anew, and what came meanwhile is found."""
    thread = getattr(here.folder_monitor._watcher, which)
    thread.stop()
    thread.join(PATIENCE)
    here.make("unseen.mp4")
    with capture_logs() as said:
        here.later(2)
    assert [line["event"] for line in said if line["event"].startswith("watch")] == ["watch-restarted"]
    here.expect("unseen.mp4")
    here.make("seen.mp4")
    here.expect("unseen.mp4", "seen.mp4")


def test_watcher_is_tried_less_often(here, monkeypatch):
    """A watcher that cannot be started is tried less and less often, and said once."""
    tries = []

    def refuse(*_, **__):
        tries.append(here.clock.now)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(InotifyFD, "add_callback", refuse)
        here.folder_monitor._watcher.stop()
        begun = here.clock.now
        with capture_logs() as said:
            here.later(4 * WATCH_PAUSE_MAX)
    gaps = [round(b - a) for a, b in itertools.pairwise(tries)]
    assert gaps[:5] == [2, 4, 8, 16, 32]
    assert max(gaps) <= WATCH_PAUSE_MAX
    assert tries[-1] - begun > 3 * WATCH_PAUSE_MAX
    events = [line["event"] for line in said]
    assert events.count("watch-unavailable") == 1
    here.later(WATCH_PAUSE_MAX)
    assert here.folder_monitor._watcher.alive()
    here.make("seen.mp4")
    here.expect("seen.mp4")


# -- the root


def test_root_removed_and_made_anew(here):
    """A root that is removed and made anew is adopted, and only clips that are missing are withdrawn."""
    here.make("old.mp4", "day/old.mp4")
    here.expect("old.mp4", "day/old.mp4")
    shutil.rmtree(here.inputs)
    here.later(LONG)
    assert here.app.root.away is not None
    assert here.withdrawn == []
    here.inputs.mkdir()
    here.make("day/old.mp4", "new.mp4")
    here.later(LONG)
    assert here.app.root.away is None
    assert here.adopted == 1
    assert here.withdrawn == ["old.mp4"]  # one that is there again under its name has lost nothing
    here.expect("day/old.mp4", "new.mp4")
    here.make("newer.mp4")
    here.until(lambda: "newer.mp4" in here.seen())


def test_root_away_for_a_moment(here):
    """A root that is away between two looks withdraws nothing."""
    here.make("a.mp4")
    here.expect("a.mp4")
    aside = here.inputs.with_name("aside")
    for _ in range(3):
        here.inputs.rename(aside)
        here.turn()  # hints come, and find nothing
        aside.rename(here.inputs)
        here.later(2)
    here.later(LONG)
    assert here.withdrawn == []
    here.make("b.mp4")
    here.expect("a.mp4", "b.mp4")


def test_mount_over_the_root(here, tmp_path):
    """A mount over the root withdraws nothing, and the root is watched again after it."""
    here.make("a.mp4", "day/b.mp4")
    here.expect("a.mp4", "day/b.mp4")
    other = tmp_path / "other"
    other.mkdir()
    (other / "theirs.mp4").touch()
    with bound(other, here.inputs) as unmount:
        here.later(LONG)
        assert "mounted over it" in here.app.root.away
        unmount()
    here.later(LONG)
    assert here.app.root.away is None
    assert here.withdrawn == []
    assert list(other.iterdir()) == [other / "theirs.mp4"]
    here.make("day/c.mp4")
    here.expect("a.mp4", "day/b.mp4", "day/c.mp4")


def test_mount_taken_away_and_back(tmp_path):
    """The mount point without its disk is an empty folder, here even on the same file system."""
    disk, root = tmp_path / "disk", tmp_path / "inputs"
    for folder in (disk, root):
        folder.mkdir()
    (disk / "a.mp4").touch()
    with bound(disk, root) as unmount:
        here = Watched(tmp_path)
        try:
            here.expect("a.mp4")
            unmount()
            (root / "below.mp4").touch()  # into the mount point: no clip of ours
            here.later(LONG)
            assert here.app.root.away is not None
            assert here.withdrawn == []
            with bound(disk, root):
                here.later(LONG)
                assert here.app.root.away is None
                assert here.withdrawn == []
                here.make("b.mp4")
                here.expect("a.mp4", "b.mp4")
                assert (disk / "b.mp4").exists()
        finally:
            here.close()
