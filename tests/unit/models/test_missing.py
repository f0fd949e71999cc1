"""What an engine's weights take, without loading them."""

from __future__ import annotations

from povwatch.config.settings import Config, Engine
from povwatch.models.missing import weights_size

GB = 10**9


def test_folder_is_weighed(tmp_path):
    """The weights in a folder are weighed; those of other models are known."""
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/model.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "vae/config.json").write_bytes(b"{}")
    assert weights_size("diffusers", Config(engine=Engine(model=str(tmp_path)))) == 1000
    assert weights_size("diffusers", Config()) == 25 * GB
    assert weights_size("cosmos", Config()) == 36 * GB
    assert weights_size("mine.py:Engine", Config()) == 0
