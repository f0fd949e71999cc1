"""What Ray's errors mean, in words. The cluster itself is tried in tests/pool/."""

from __future__ import annotations

import socket

import pytest

pytest.importorskip("ray", reason="Ray is not installed: script/bootstrap --dev")

from ray import exceptions

from povwatch.bridge import cluster
from povwatch.bridge.losses import Unreachable


@pytest.mark.parametrize(
    ("version", "taken"),
    [("2.57.0", True), ("2.60.0", True), ("2.99.1", True), ("2.56.9", False), ("3.0.0", False), ("1.13.0", False)],
)
def test_versions_of_ray(version, taken):
    problem = cluster.unsupported(version)
    assert (not problem) == taken
    assert taken or (version in problem and "script/bootstrap --pool" in problem)


def test_nobody_listens():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable, match=rf"^Nobody listens at 127.0.0.1:{port} \(Connection refused\)\."):
        cluster.Cluster(f"127.0.0.1:{port}").connect()


@pytest.mark.parametrize(("token", "have"), [("", "here is none"), ("abc", "one that the cluster refuses")])
def test_a_wrong_token(monkeypatch, tmp_path, token, have):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    said = cluster._unreachable(exceptions.AuthenticationError("InvalidAuthToken"), "gpu-01:6379")
    assert said.startswith("The cluster at gpu-01:6379 asks for a token, and ")
    assert have in said
    assert "RAY_AUTH_MODE=token" in said


@pytest.mark.parametrize(
    ("error", "address", "begins"),
    [
        (
            RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.57.0\n    Python: 3.11.7"),
            "gpu-01:6379",
            "The cluster at gpu-01:6379 runs another Ray or Python: Python: 3.11.7",
        ),
        (ConnectionError("Could not find any running Ray instance."), "", "No Ray runs on this machine."),
        (ConnectionError("no"), "gpu-01:6379", "This machine does not belong to the cluster at gpu-01:6379."),
        (ValueError("odd\nmore"), "gpu-01:6379", "The cluster at gpu-01:6379 cannot be reached: odd"),
    ],
)
def test_no_connection(error, address, begins):
    assert cluster._unreachable(error, address).startswith(begins)
