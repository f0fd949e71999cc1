"""What a further machine says where it cannot join; Ray's words are of Ray 2.60."""

from __future__ import annotations

from pathlib import Path

import pytest

from povwatch.bridge import join, token
from povwatch.core.errors import ConfigError, MachineError, PovwatchError
from povwatch.gpu.nvml import read_gpus

MISMATCH = """RuntimeError: Version mismatch: The cluster was started with:
    Ray: {0}
    Python: {1}
This process on node 10.77.0.2 was started with:
    Ray: {2}
    Python: {3}
"""


@pytest.mark.parametrize(
    ("versions", "said", "todo"),
    [
        (
            ("2.60.0", "3.12.3", "2.60.0", "3.11.2"),
            "has Python 3.12.3, and here it is 3.11.2",
            "POVWATCH_PYTHON=python3.12",
        ),
        (
            ("2.58.0", "3.11.2", "2.60.0", "3.11.2"),
            "has Ray 2.58.0, and here it is 2.60.0",
            "same povwatch on all machines",
        ),
    ],
)
def test_another_version_is_named(versions, said, todo):
    with pytest.raises(MachineError) as raised:
        join.refuse(MISMATCH.format(*versions), "gpu-01:6379")
    assert said in str(raised.value)
    assert todo in str(raised.value)


def test_a_refused_token_is_named(monkeypatch):
    monkeypatch.setenv(token.PATH, "/here/pool.token")
    with pytest.raises(MachineError, match=r"refuses the token in /here/pool\.token"):
        join.refuse("ray.exceptions.AuthenticationError: InvalidAuthToken: Token mismatch", "gpu-01:6379")


def test_what_may_pass_is_no_refusal():
    """Anything else is tried again."""
    join.refuse("ConnectionError: the head went away", "gpu-01:6379")


@pytest.mark.parametrize(
    ("head", "error"),
    [("gpu:x", "is no address"), (":6379", "is no address"), ("no.such.example.:1", "No machine is called")],
)
def test_a_bad_address_is_named(head, error):
    with pytest.raises(ConfigError, match=error):
        join.with_port(head)


def test_the_port_may_be_left_out():
    assert join.with_port("127.0.0.1") == "127.0.0.1:6379"
    assert join.with_port("127.0.0.1:7000") == "127.0.0.1:7000"


def test_a_missing_token_says_how_to_copy(tmp_path, monkeypatch):
    monkeypatch.delenv(token.MODE, raising=False)
    with pytest.raises(PovwatchError, match=rf"scp gpu-01:\S+ {tmp_path}/pool.token && chmod 600"):
        join.find_token(None, tmp_path, "gpu-01:6379")
    with pytest.raises(PovwatchError, match=r"no token in /not/there.* scp"):
        join.find_token(Path("/not/there"), tmp_path, "gpu-01:6379")


def test_without_a_gpu():
    """A machine without GPU says what to do; --gpus overrides what the driver says."""
    assert join.gpus(3) == 3
    if read_gpus().found:
        pytest.skip("this machine has a GPU")
    with pytest.raises(MachineError, match=r"no GPU for the pool: .* --gpus 2"):
        join.gpus(None)
