from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from support.somebody_else import as_somebody_else

from povwatch.arrival.writers import OpenForWriting, Writers, ignore_sigio, open_for_writing, writer_open


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    fd = os.open(path, os.O_RDONLY)
    yield path, fd
    os.close(fd)


def test_nobody_writes(clip):
    _, fd = clip
    assert writer_open(fd) is Writers.NONE


@pytest.mark.parametrize("mode", [os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_APPEND])
def test_another_process_writes(clip, mode):
    """A process that has the file open for writing is seen, by a lease or in /proc."""
    path, fd = clip
    with writer(path, mode):
        assert writer_open(fd) is Writers.OPEN
        assert writer_open(fd, network=True) is Writers.OPEN  # by /proc
    assert writer_open(fd) is Writers.NONE


def test_reader_is_no_writer(clip):
    path, fd = clip
    with writer(path, os.O_RDONLY):
        assert writer_open(fd) is Writers.NONE
        status = os.fstat(fd)
        assert (status.st_dev, status.st_ino) not in open_for_writing().files


def test_on_a_network_nobody_can_tell(clip):
    _, fd = clip
    assert writer_open(fd, network=True) is Writers.UNKNOWN


def test_proc_answers_where_leases_do_not(clip, monkeypatch):
    path, fd = clip
    monkeypatch.setattr("povwatch.arrival.writers._lease", lambda _: Writers.UNKNOWN)
    with writer(path, os.O_WRONLY):
        assert writer_open(fd) is Writers.OPEN
    for everybody, answer in ((True, Writers.NONE), (False, Writers.UNKNOWN)):
        seen = OpenForWriting(set(), everybody=everybody)
        monkeypatch.setattr("povwatch.arrival.writers.open_for_writing", lambda seen=seen: seen)
        assert writer_open(fd) is answer


def test_without_the_right_it_is_unknown(open_to_all):
    """A file of another owner, without CAP_LEASE: no lease, and others' processes stay closed."""
    path = open_to_all / "clip.mp4"
    path.write_bytes(b"x")
    path.chmod(0o644)
    with as_somebody_else():
        fd = os.open(path, os.O_RDONLY)
        answer = writer_open(fd)
        os.close(fd)
    assert answer is (Writers.UNKNOWN if os.geteuid() == 0 else Writers.NONE)


def test_hidden_processes_make_it_unknown(tmp_path):
    assert not open_for_writing(tmp_path).everybody


def test_writer_does_not_kill_the_lessee(tmp_path):
    """A process of its own: the signal's default action would end it."""
    script = """if True:
        import fcntl, os, subprocess, sys
        from povwatch.arrival.writers import ignore_sigio
        if sys.argv[2] == "ignore":
            ignore_sigio()
        fd = os.open(sys.argv[1], os.O_RDONLY)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        other = subprocess.Popen([sys.executable, "-c", "import sys; open(sys.argv[1], 'ab')", sys.argv[1]])
        try:
            other.wait(0.5)
        except subprocess.TimeoutExpired:
            pass
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        other.wait()
    """
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"x")
    run = lambda how: subprocess.run([sys.executable, "-c", script, path, how], check=False).returncode  # noqa: E731
    assert run("ignore") == 0
    assert run("as it comes") == -signal.SIGIO  # so the first result means something


def test_ignore_sigio():
    before = signal.getsignal(signal.SIGIO)
    try:
        ignore_sigio()
        assert signal.getsignal(signal.SIGIO) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGIO, before)


class writer:  # noqa: N801 - reads as a word in a with statement
    """A process that has a file open until the block ends."""

    def __init__(self, path, mode) -> None:
        script = "import os, sys; os.open(sys.argv[1], int(sys.argv[2])); print(flush=True); sys.stdin.read()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, path, str(mode)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def __enter__(self) -> None:
        self.process.stdout.readline()

    def __exit__(self, *_) -> None:
        self.process.communicate()
