"""What an engine's weights take, without loading them."""

from __future__ import annotations

from povwatch.config.settings import Config, Engine
from povwatch.models.weigh import weights

GB = 10**9


def test_folder_is_weighed(tmp_path):
    """The weights in a folder are weighed; those of other models are known."""
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae/model.safetensors").write_bytes(b"x" * 1000)
    (tmp_path / "vae/config.json").write_bytes(b"{}")
    assert weights("diffusers", Config(engine=Engine(model=str(tmp_path)))) == 1000
    assert weights("diffusers", Config()) == 25 * GB
    assert weights("cosmos", Config()) == 36 * GB
    assert weights("mine.py:Engine", Config()) == 0
