"""Chunks are whole or missing, though a worker that was given up may write the same ones on another machine."""

from __future__ import annotations

import errno
import os

import pytest

from povwatch.engines import chunk_files


@pytest.fixture
def path(tmp_path):
    (tmp_path / "17").mkdir()
    return tmp_path / "17/chunks/chunk-0"


@pytest.fixture
def meanwhile(monkeypatch):
    """Have something happen right before the first file is put on the disk."""

    def happens(what):
        fsync = os.fsync

        def once(fd):
            monkeypatch.setattr(chunk_files.os, "fsync", fsync)
            what()
            fsync(fd)

        monkeypatch.setattr(chunk_files.os, "fsync", once)

    return happens


def test_two_writers_do_not_meet(path, meanwhile):
    """Whoever ends last has written the chunk, and as a whole."""
    meanwhile(lambda: chunk_files.write(path, b"late", b"r one"))
    chunk_files.write(path, b"the first one is long")
    assert path.read_bytes() == b"the first one is long"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_killed_writer_spoils_nothing(path, meanwhile):
    """A late worker that is killed in the middle of the same chunk leaves that of the other one as it is."""

    def killed():
        pid = os.fork()
        if pid == 0:
            chunk_files.os.fsync = lambda _: os._exit(9)
            chunk_files.write(path, b"half")
        os.waitpid(pid, 0)

    meanwhile(killed)
    chunk_files.write(path, b"the whole chunk")
    assert path.read_bytes() == b"the whole chunk"


def test_full_disk_leaves_what_was_there(path, monkeypatch):
    chunk_files.write(path, b"old")

    def full(_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(chunk_files.os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        chunk_files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_deleted_job_is_not_made_anew(path):
    """A late worker finds that the job's folder is gone: its job has ended."""
    path.parent.parent.rmdir()
    with pytest.raises(FileNotFoundError):
        chunk_files.write(path, b"late")
    assert not path.parent.parent.exists()
