"""Loads one after the other where the host's memory is short, and all at once where it is not."""

from __future__ import annotations

from povwatch.config.settings import Config, Engine
from povwatch.models.weigh import weights
from povwatch.workers.load_turns import LoadGate

GB = 10**9


def test_gate_asks_the_gpu_after_the_host():
    """A load waits for a pause and the host's memory, and asks for room on the GPU only then."""
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


def test_weights_of_a_folder_are_weighed(tmp_path):
    """The weights of a folder are weighed; those of others are known."""
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/model.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "vae/config.json").write_bytes(b"{}")
    assert weights("diffusers", Config(engine=Engine(model=str(tmp_path)))) == 1000
    assert weights("diffusers", Config()) == 25 * GB
    assert weights("cosmos", Config()) == 36 * GB
    assert weights("mine.py:Engine", Config()) == 0
