"""Does outputs/ take files? Real folders, and a clock that is set by hand."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from support.somebody_else import as_somebody_else

from povwatch.core.errors import OutputsNotWritable, Shortage
from povwatch.core.job import Waiting
from povwatch.publish.outputs_watch import PROBE_MAX, OutputsWatch
from povwatch.publish.staging import Staging


class Bench(Staging):
    def __init__(self, outputs):
        super().__init__(outputs)
        self.error, self.probes = None, 0
        self.watch = OutputsWatch(self)

    def probe(self):
        self.probes += 1
        if self.error:
            raise self.error
        super().probe()


@pytest.fixture
def bench():
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to others
        outputs = Path(folder, "outputs")
        Path(folder).chmod(0o755)
        outputs.mkdir()
        yield Bench(outputs)


def test_nothing_is_written_unasked(bench):
    """Nothing is written in outputs/ while nothing was refused."""
    for now in range(100):
        bench.watch.tick(float(now))
    assert (bench.probes, bench.watch.blocker) == (0, None)
    assert list(bench.outputs.iterdir()) == []


def test_unseen_at_the_start(bench, monkeypatch):
    """A folder that cannot be looked at at the start is known from the next look on."""

    def too_many(_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr("povwatch.publish.outputs_watch.identity", too_many)
        watch = OutputsWatch(bench)
        watch.tick(0.0)
    watch.tick(10.0)
    assert watch.blocker is None
    bench.outputs.rmdir()
    watch.tick(20.0)
    assert "is not there" in watch.blocker.problem


def test_refusing_folder_is_probed(bench):
    """A folder that refuses files is probed with growing pauses until it takes one."""
    bench.error = OutputsNotWritable("outputs/.povwatch cannot be written (Read-only file system).", "Mount it.")
    with capture_logs() as said:
        assert bench.watch.refuses(0.0)
        assert (bench.watch.blocker.waiting, bench.watch.blocker.asked) == (Waiting.PAUSED, False)
        for now in range(1, 61):
            bench.watch.tick(float(now))
        assert bench.probes == 1 + len([1, 3, 7, 15, 23, 31, 39, 47, 55])
        bench.error = None
        bench.watch.tick(60.0 + PROBE_MAX)
    assert bench.watch.blocker is None
    assert bench.watch.came_back()
    assert not bench.watch.came_back(), "it is said once"
    assert [line["event"] for line in said] == ["outputs-away", "outputs-back"]
    assert [entry.name for entry in bench.outputs.iterdir()] == [".povwatch"]
    assert list((bench.outputs / ".povwatch").iterdir()) == []


def test_taking_folder_refuses_nothing(bench):
    """A folder that takes files is not away."""
    assert not bench.watch.refuses(0.0)
    assert bench.watch.blocker is None
    assert not bench.watch.came_back()


def test_open_files_say_nothing_of_it(bench):
    """Too few open files say nothing about the folder."""
    bench.error = Shortage("povwatch could not make a private folder: Too many open files.")
    assert not bench.watch.refuses(0.0)


def test_lost_rights_are_seen_first(bench):
    """Rights that are taken away are seen before anything is refused."""
    bench.outputs.chmod(0o555)
    with as_somebody_else():
        bench.watch.tick(0.0)
        assert "Permission denied" in bench.watch.blocker.problem
        assert "povwatch's user" in bench.watch.blocker.problem
    bench.outputs.chmod(0o777)
    with as_somebody_else():
        bench.watch.tick(1.0)
    assert bench.watch.blocker is None


def test_refused_probe_has_its_words(bench, monkeypatch):
    """A probe that the system refuses is told in its words."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "mkdir", refuse)
    with pytest.raises(OutputsNotWritable, match="Read-only file system"):
        Staging(bench.outputs).probe()
