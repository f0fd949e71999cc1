"""The socket is in a folder of any length, for our own user alone."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from povwatch.config.settings import Config, Paths
from povwatch.remote import address


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / ("long" * 50)
    folder.mkdir()
    return folder / address.NAME


def test_both_ends_meet_in_a_long_folder(path):
    """A Unix socket's own name has 107 bytes at most; this folder's has more."""
    assert len(bytes(path)) > 107
    with address.listen(path) as listening, address.connect(path) as bridge:
        daemon, _ = listening.accept()
        with daemon:
            assert address.is_ours(daemon)
            bridge.sendall(b"hello")
            assert daemon.recv(10) == b"hello"
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600


def test_left_socket_is_replaced(path):
    address.listen(path).close()
    with pytest.raises(ConnectionRefusedError):
        address.connect(path)
    with address.listen(path), address.connect(path):
        pass


def test_foreign_file_is_left_alone(path):
    path.write_text("mine")
    with pytest.raises(OSError, match="in use"):
        address.listen(path)
    assert path.read_text() == "mine"


def test_nothing_listens_without_a_daemon(path):
    with pytest.raises(FileNotFoundError):
        address.connect(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_somebody_else_is_known():
    """Who connects is told by the kernel, not by what is said."""
    listening, other = socket.socketpair()
    with listening, other:
        assert address.is_ours(listening)
        try:
            os.seteuid(65534)
            assert not address.is_ours(listening)
        finally:
            os.seteuid(0)


def test_systemd_names_the_folder(monkeypatch, tmp_path):
    config = Config(paths=Paths(state=tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    assert address.socket_path(config) == tmp_path / "pool.sock"
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/povwatch:/run/other")
    assert address.socket_path(config) == Path("/run/povwatch/pool.sock")
