"""What an engine's weights take, without loading them."""

from __future__ import annotations

from huggingface_hub import constants

from povwatch.config.settings import Config, Engine, Paths
from povwatch.engines import needs
from povwatch.models import missing
from povwatch.models.missing import missing_files, weights_size

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
    assert weights_size("diffusers", Config(engine=Engine(controls=("edge", "depth")))) == 25 * GB + 950_000_000


def test_engine_does_without_those_models(tmp_path, monkeypatch):
    """The engine loads without the models that compute a control: only jobs with that control need them."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    engine = Engine(model="me/mine", guardrails=False, controls=("depth",))
    config = Config(engine=engine, paths=Paths(state=tmp_path))
    assert missing_files("diffusers", config).startswith("me/mine (the model) is not here")
    monkeypatch.setattr(missing, "needs", lambda *_: needs.computing("depth"))
    assert missing_files("diffusers", config) == ""
