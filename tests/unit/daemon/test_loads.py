"""Loads one after the other where the host's memory is short, and all at once where it is not."""

from __future__ import annotations

import pytest

from povwatch.config import Config, Engine
from povwatch.daemon.runs.loads import LoadGate
from povwatch.models.weigh import weights
from povwatch.workers.loads import crowded

GB = 10**9


@pytest.mark.parametrize(
    ("under_way", "needs", "available", "waits"),
    [
        (0, 36, 1, False),  # the first one is never kept waiting
        (1, 36, 71, True),
        (1, 36, 72, False),
        (3, 36, 143, True),
        (3, 36, 144, False),
        (1, 36, None, True),  # nobody knows: one after the other
        (7, 0, 0, False),  # an engine without weights
    ],
)
def test_a_load_begins_while_the_host_holds_it_and_those_under_way(under_way, needs, available, waits):
    found = crowded(under_way, needs * GB, None if available is None else available * GB)
    assert bool(found) is waits
    if waits:
        assert "a load may take 36 GB" in found


def test_a_gate_asks_for_room_on_the_gpu_when_the_host_has_some():
    loads, free, asked, closed = [0], [10 * GB], [], [""]

    def preflight(now):
        asked.append(now)
        return True

    gate = LoadGate(
        preflight,
        36 * GB,
        label="worker 2",
        closed=lambda: closed[0],
        under_way=lambda: loads[0],
        available=lambda: free[0],
    )
    assert gate(1.0)
    loads[0] = 1
    assert not gate(2.0)
    assert "another worker loads" in gate.waits
    free[0] = 80 * GB
    assert gate(3.0)
    assert gate.waits == ""
    closed[0] = "Paused by alice."
    assert not gate(4.0)
    assert gate.waits == "Paused by alice."
    assert asked == [1.0, 3.0]


def test_weights_of_a_folder_are_weighed_and_others_known_by_size(tmp_path):
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/model.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "vae/config.json").write_bytes(b"{}")
    assert weights("diffusers", Config(engine=Engine(model=str(tmp_path)))) == 1000
    assert weights("diffusers", Config()) == 25 * GB
    assert weights("cosmos", Config()) == 36 * GB
    assert weights("mine.py:Engine", Config()) == 0
