"""What is missing to compute a control."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from povwatch.engines.abilities import Abilities
from povwatch.engines.annotate import presence
from povwatch.engines.annotate.annotation import MODELS


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Files of the models of seg, without contents; a new transformers."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(presence, "version", lambda _: "5.1.0")
    for folder, model in zip(presence.folders("seg"), MODELS["seg"], strict=True):
        folder.mkdir(parents=True)
        for name in model.files:
            (folder / name).touch()
    return tmp_path / "hub"


def test_all_is_here(here):
    assert presence.lacking("seg") == ("", "")


def test_missing_model_is_named(here):
    """The first model that is missing is named, with the command that fetches it."""
    what, todo = presence.lacking("depth")
    assert what == "depth-anything/Depth-Anything-V2-Small-hf, which computes depth, is not here"
    assert "prefetch --engine diffusers" in todo


def test_missing_file_is_named(here):
    """Of a model that is here in part, the missing file is named."""
    (presence.folders("seg")[1] / "model.safetensors").unlink()
    assert presence.lacking("seg")[0] == (
        "model.safetensors of facebook/sam2-hiera-large, which computes seg, is not here"
    )


def test_transformers_too_old(here, monkeypatch):
    """A transformers that is too old, or is not there, is said before the files."""
    monkeypatch.setattr(presence, "version", lambda _: "4.49.0")
    assert presence.lacking("seg")[0] == "transformers is 4.49.0 here, and seg is computed with 5 or newer"

    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(presence, "version", absent)
    assert presence.lacking("seg")[0] == "transformers, which computes seg, is not installed"


def test_told_while_the_json_can_be_edited(here):
    """The check of a JSON refuses a control whose model is missing, and no other; given ones need none."""
    abilities = Abilities("diffusers", ("edge", "depth", "seg"))
    told = abilities.refusals({"depth": {}, "seg": {"control_prompt": "a"}}, None, None)
    assert [(one.field, one.message) for one in told] == [
        (
            "depth.control_path",
            "is missing, and depth-anything/Depth-Anything-V2-Small-hf, which computes depth, is not here",
        )
    ]
    assert "Or give a control video" in told[0].todo
    assert abilities.refusals({"depth": {"control_path": "d.mp4"}}, None, None) == []
